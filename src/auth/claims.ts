import type { JwtPayload } from 'jsonwebtoken'
import { parseGrants } from '../core/grants.ts'
import type { Identity } from '../core/identity.ts'
import { toName } from '../core/name.ts'
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
  const { rooms, grants } = parseGrants(at(claims, roomsClaim), `the claim ${roomsClaim}`)
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

/** A claim by its full name (URL-named claims contain dots), else by its dotted path. */
function at(claims: unknown, path: string): unknown {
  if (!isRecord(claims)) return undefined
  if (Object.hasOwn(claims, path)) return claims[path]
  const dot = path.indexOf('.')
  return dot < 0 || !Object.hasOwn(claims, path.slice(0, dot)) ? undefined : at(claims[path.slice(0, dot)], path.slice(dot + 1))
}

const isPresent = (value: unknown): boolean => value !== undefined && value !== null
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value)
