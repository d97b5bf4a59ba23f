import jwt, { type JwtPayload } from 'jsonwebtoken'
import type { Identity } from '../core/identity.ts'
import { BridgeError } from '../errors.ts'
import { type ClaimOptions, toIdentity } from './claims.ts'
import type { TokenAlgorithm, VerifyKey } from './keys.ts'

export interface TokenOptions extends ClaimOptions {
  readonly keys: readonly VerifyKey[]
  /** Empty: all that the keys allow. */
  readonly algorithms: readonly TokenAlgorithm[]
  readonly issuer?: string
  readonly audience?: string
  readonly requireExp: boolean
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** The audience of room tokens. They are no logins, whoever signed them. */
const roomTokenAudience = 'sidecast:room'

/** The longest token that is looked at, in characters. */
const maxTokenLength = 8192

/** From a login token to who it is. @throws BridgeError one of the `token_…` codes; its message says precisely why, for the log only */
export interface TokenVerifier {
  verify(token: string): Promise<Identity>
}

// Three base64url parts: a JWS (a JWE has five). Checked before any library sees it.
const compactJws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/

export function createTokenVerifier(options: TokenOptions): TokenVerifier {
  const keys = options.keys
    .map(({ key, algorithms }) => ({
      key,
      algorithms: algorithms.filter((algorithm) => options.algorithms.length === 0 || options.algorithms.includes(algorithm)),
    }))
    .filter(({ algorithms }) => algorithms.length > 0)
  if (keys.length === 0) throw new BridgeError('invalid_config', 'SIDECAST_JWT_ALGORITHMS leaves no algorithm that the configured keys can verify')

  return {
    // A promise although nothing is waited for yet: keys that are fetched take time.
    async verify(token) {
      const algorithm = algorithmOf(token)
      const candidates = keys.filter((key) => key.algorithms.some((allowed) => allowed === algorithm))
      if (candidates.length === 0) throw new BridgeError('token_signature', `the token is signed with ${algorithm}, which no configured key verifies`)
      const claims = verifySignature(token, candidates, options.now())
      checkClaims(claims, options)
      return toIdentity(claims, options)
    },
  }
}

function algorithmOf(token: string): string {
  if (token.length > maxTokenLength)
    throw new BridgeError('token_malformed', `the token has ${token.length} characters; ${maxTokenLength} are the limit`)
  if (!compactJws.test(token)) throw new BridgeError('token_malformed', 'the token is not three base64url parts')
  try {
    const header: unknown = JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString())
    if (typeof header === 'object' && header !== null && 'alg' in header && typeof header.alg === 'string') return header.alg
  } catch {
    // Falls through to the one answer for headers that cannot be used.
  }
  throw new BridgeError('token_malformed', 'the header of the token is not JSON with an alg')
}

/** Only the signature is the library's: it compares times in whole seconds and words its errors for developers. */
function verifySignature(token: string, keys: readonly VerifyKey[], now: number): JwtPayload {
  let last: unknown
  for (const { key, algorithms } of keys) {
    try {
      const claims = jwt.verify(token, key, {
        algorithms: [...algorithms],
        ignoreExpiration: true,
        ignoreNotBefore: true,
        clockTimestamp: Math.floor(now / 1000),
      })
      if (typeof claims === 'string') throw new BridgeError('token_malformed', 'the claims of the token are not an object')
      return claims
    } catch (error) {
      if (error instanceof BridgeError) throw error
      last = error
    }
  }
  throw new BridgeError('token_signature', `none of the ${keys.length} keys verifies the token`, { cause: last })
}

function checkClaims(claims: JwtPayload, { issuer, audience, requireExp, clockToleranceMs, now }: TokenOptions): void {
  const expiresAt = dateOf(claims, 'exp')
  const notBefore = dateOf(claims, 'nbf')
  dateOf(claims, 'iat')
  if (expiresAt === undefined && requireExp)
    throw new BridgeError('token_claims', 'the token has no exp: it would be valid for ever (SIDECAST_JWT_REQUIRE_EXP)')
  if (expiresAt !== undefined && now() >= expiresAt + clockToleranceMs)
    throw new BridgeError('token_expired', `the token expired at ${new Date(expiresAt).toISOString()}`)
  if (notBefore !== undefined && now() < notBefore - clockToleranceMs)
    throw new BridgeError('token_not_active', `the token is valid from ${new Date(notBefore).toISOString()}`)
  if (issuer !== undefined && claims.iss !== issuer)
    throw new BridgeError('token_issuer', `the issuer is ${JSON.stringify(claims.iss)}, not ${JSON.stringify(issuer)}`)
  const audiences: readonly unknown[] = Array.isArray(claims.aud) ? claims.aud : [claims.aud]
  if (audiences.includes(roomTokenAudience)) throw new BridgeError('token_audience', 'the token is a room token, not a login')
  if (audience !== undefined && !audiences.includes(audience))
    throw new BridgeError('token_audience', `the audience is ${JSON.stringify(claims.aud)}, not ${JSON.stringify(audience)}`)
}

/** Milliseconds since 1970; issuers send fractions of a second too. */
function dateOf(claims: JwtPayload, name: 'exp' | 'nbf' | 'iat'): number | undefined {
  const value: unknown = claims[name]
  if (value === undefined) return undefined
  // Dates beyond what a Date can hold are somebody's trick or milliseconds taken for seconds.
  if (typeof value !== 'number' || !Number.isFinite(value) || Math.abs(value * 1000) > 8.64e15)
    throw new BridgeError('token_claims', `the claim ${name} is not a number of seconds since 1970`)
  return value * 1000
}
