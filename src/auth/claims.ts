import type { Identity } from '../core/identity.ts'
import { toName } from '../core/name.ts'
import { parseRoomPattern, type RoomPattern } from '../core/room-pattern.ts'
import { BridgeError } from '../errors.ts'
import type { Members } from './jws.ts'
import { type Filling, fillTemplate, parseRoomTemplate } from './room-templates.ts'

export interface ClaimOptions {
  /** Claims that may hold the user, first present wins; dots go into objects. */
  readonly userClaims: readonly string[]
  readonly roomsClaim: string
  /** Rooms that are made of other claims: `role:{roles[]}`. See room-templates. */
  readonly roomTemplates: readonly string[]
  readonly clockToleranceMs: number
}

/** The room that everybody is in alone, with all sessions. */
export const ownRoom = 'user:{user}'

/** From verified claims to an identity. @throws BridgeError token_claims */
export function toIdentity(claims: Members, { userClaims, roomsClaim, roomTemplates, clockToleranceMs }: ClaimOptions): Identity {
  const user = userOf(claims, userClaims)
  const named = roomsOf(claimAt(claims, roomsClaim), roomsClaim)
  const made = [ownRoom, ...roomTemplates].map((template) => fillFrom(claims, user, template).rooms)
  const [own = [], ...others] = made
  const iat = numberOf(claims.iat)
  const exp = numberOf(claims.exp)
  return {
    user,
    rooms: [...new Set([...own, ...named.rooms, ...others.flat()])],
    grants: named.grants,
    // The earliest moment at which it can have been issued: a clock that is ahead must not make a token look newer than a removal.
    ...(iat === undefined ? {} : { issuedAt: iat * 1000 - clockToleranceMs, iat: iat * 1000 }),
    ...idOf(claims, 'jti'),
    ...idOf(claims, 'sid'),
    ...(exp === undefined ? {} : { expiresAt: Math.floor(exp * 1000) }),
  }
}

/** What a template makes of the claims of a user. */
export function fillFrom(claims: Members, user: string, template: string): Filling {
  return fillTemplate(parseRoomTemplate(template), (path) => (path === 'user' ? user : claimAt(claims, path)))
}

/** A claim by its full name (URL-named claims contain dots), else by its dotted path. */
export function claimAt(claims: unknown, path: string): unknown {
  if (!isRecord(claims)) return undefined
  if (Object.hasOwn(claims, path)) return claims[path]
  const dot = path.indexOf('.')
  return dot < 0 || !Object.hasOwn(claims, path.slice(0, dot)) ? undefined : claimAt(claims[path.slice(0, dot)], path.slice(dot + 1))
}

function userOf(claims: Members, userClaims: readonly string[]): string {
  const claim = userClaims.find((path) => isPresent(claimAt(claims, path)))
  if (claim === undefined)
    throw new BridgeError('token_claims', `the token has no ${userClaims.join(' or ')}: SIDECAST_JWT_USER_CLAIM names the claim that holds the user`)
  const user = toName(claimAt(claims, claim))
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

/** What a revocation may name. Anything else than a text or a whole number is no id. */
function idOf(claims: Members, name: 'jti' | 'sid'): { readonly jti?: string; readonly sid?: string } {
  const value: unknown = claims[name]
  const id = typeof value === 'string' ? value : Number.isSafeInteger(value) ? String(value) : ''
  return id === '' ? {} : { [name]: id }
}

const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)
const isPresent = (value: unknown): boolean => value !== undefined && value !== null
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value)
