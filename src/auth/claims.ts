import type { JwtPayload } from 'jsonwebtoken'
import type { Identity } from '../core/identity.ts'
import { toName } from '../core/name.ts'
import { parseRoomPattern, type RoomPattern } from '../core/room-pattern.ts'
import { BridgeError } from '../errors.ts'

export interface ClaimOptions {
  /** Claims that may hold the user, first present wins; dots go into objects. */
  readonly userClaims: readonly string[]
  readonly roomsClaim: string
  readonly clockToleranceMs: number
}

/** From verified claims to an identity. @throws BridgeError token_claims */
export function toIdentity(claims: JwtPayload, { userClaims, roomsClaim, clockToleranceMs }: ClaimOptions): Identity {
  const user = userOf(claims, userClaims)
  const { rooms, grants } = roomsOf(at(claims, roomsClaim), roomsClaim)
  return {
    user,
    rooms,
    grants,
    // The earliest moment at which it can have been issued: a clock that is ahead must not make a token look newer than a removal.
    ...(claims.iat === undefined ? {} : { issuedAt: claims.iat * 1000 - clockToleranceMs }),
    ...(claims.exp === undefined ? {} : { expiresAt: Math.floor(claims.exp * 1000) }),
  }
}

function userOf(claims: JwtPayload, userClaims: readonly string[]): string {
  const claim = userClaims.find((path) => isPresent(at(claims, path)))
  if (claim === undefined)
    throw new BridgeError('token_claims', `the token has no ${userClaims.join(' or ')}: SIDECAST_JWT_USER_CLAIM names the claim that holds the user`)
  const user = toName(at(claims, claim))
  if (user === undefined)
    throw new BridgeError(
      'token_claims',
      `the claim ${claim} is not usable as a user: a string of 1 to 200 visible characters or an integer below 2^53`,
    )
  return user
}

function roomsOf(claim: unknown, name: string): { readonly rooms: readonly string[]; readonly grants: readonly RoomPattern[] } {
  if (!isPresent(claim)) return { rooms: [], grants: [] }
  if (!Array.isArray(claim)) throw new BridgeError('token_claims', `the claim ${name} is not a list of rooms`)
  const rooms = new Set<string>()
  const grants: RoomPattern[] = []
  for (const item of claim) {
    const room = toName(item)
    const pattern = room === undefined ? undefined : parseRoomPattern(room)
    if (room === undefined || pattern === undefined)
      throw new BridgeError(
        'token_claims',
        `the claim ${name} holds ${JSON.stringify(item)}, which is neither a room nor a pattern of whole segments`,
      )
    if (room.includes('*')) grants.push(pattern)
    else rooms.add(room)
  }
  return { rooms: [...rooms], grants }
}

/** A claim by its full name (URL-named claims contain dots), else by its dotted path. */
function at(claims: unknown, path: string): unknown {
  if (!isRecord(claims)) return undefined
  if (Object.hasOwn(claims, path)) return claims[path]
  const dot = path.indexOf('.')
  return dot < 0 || !Object.hasOwn(claims, path.slice(0, dot)) ? undefined : at(claims[path.slice(0, dot)], path.slice(dot + 1))
}

const isPresent = (value: unknown): boolean => value !== undefined && value !== null
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value)
