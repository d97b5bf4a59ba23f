import { isUtf8 } from 'node:buffer'
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

/** The year 5138. What lies beyond are milliseconds taken for seconds, or somebody's trick. */
const maxSeconds = 1e11

/** The longest token that is looked at, in characters. */
const maxTokenLength = 8192

/** From a login token to who it is. @throws BridgeError one of the `token_…` codes; its message says precisely why, for the log only */
export interface TokenVerifier {
  verify(token: string): Promise<Identity>
}

// Three base64url parts: a JWS (a JWE has five). Checked before any library sees it.
const compactJws = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/

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
      const { algorithm, claims } = decode(token)
      const candidates = keys.filter((key) => key.algorithms.some((allowed) => allowed === algorithm))
      if (candidates.length === 0) throw new BridgeError('token_signature', `the token is signed with ${algorithm}, which no configured key verifies`)
      verifySignature(token, candidates)
      checkClaims(claims, options)
      return toIdentity(claims, options)
    },
  }
}

interface Decoded {
  readonly algorithm: string
  /** What the token says; nothing to believe before the signature is verified. */
  readonly claims: JwtPayload
}

function decode(token: string): Decoded {
  if (token.length > maxTokenLength)
    throw new BridgeError('token_malformed', `the token has ${token.length} characters; ${maxTokenLength} are the limit`)
  const [, header = '', claims = '', signature = ''] = compactJws.exec(token) ?? []
  if (header === '') throw new BridgeError('token_malformed', 'the token is not three base64url parts')
  // Bits that stand for nothing would let one signature be written in several ways.
  if (toBytes(signature).toString('base64url') !== signature) throw new BridgeError('token_malformed', 'the signature of the token is not base64url')
  const { alg, crit } = parsePart(header, 'header')
  if (typeof alg !== 'string') throw new BridgeError('token_malformed', 'the header of the token has no alg')
  // RFC 7515 4.1.11: an extension that must be understood and is not makes the token invalid.
  if (crit !== undefined) throw new BridgeError('token_malformed', 'the token has extensions that must be understood (crit); none is')
  return { algorithm: alg, claims: parsePart(claims, 'payload') }
}

function parsePart(part: string, name: string): Readonly<Record<string, unknown>> {
  const bytes = toBytes(part)
  // Bytes that are no text would all become the same character: two users could become one.
  if (isUtf8(bytes)) {
    try {
      const value: unknown = JSON.parse(bytes.toString())
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
    } catch {
      // Falls through to the one answer for parts that cannot be used.
    }
  }
  throw new BridgeError('token_malformed', `the ${name} of the token is not a JSON object`)
}

const toBytes = (part: string): Buffer => Buffer.from(part, 'base64url')

/** Only the signature is the library's: it compares times in whole seconds and words its errors for developers. */
function verifySignature(token: string, keys: readonly VerifyKey[]): void {
  let last: unknown
  for (const { key, algorithms } of keys) {
    try {
      jwt.verify(token, key, { algorithms: [...algorithms], ignoreExpiration: true, ignoreNotBefore: true })
      return
    } catch (error) {
      last = error
    }
  }
  throw new BridgeError('token_signature', `none of the ${keys.length} keys verifies the token`, { cause: last })
}

function checkClaims(claims: JwtPayload, { issuer, audience, requireExp, clockToleranceMs, now }: TokenOptions): void {
  const expiresAt = dateOf(claims, 'exp')
  const notBefore = dateOf(claims, 'nbf')
  const issuedAt = dateOf(claims, 'iat')
  if (expiresAt === undefined && requireExp)
    throw new BridgeError('token_claims', 'the token has no exp: it would be valid for ever (SIDECAST_JWT_REQUIRE_EXP)')
  if (expiresAt !== undefined && now() >= expiresAt + clockToleranceMs)
    throw new BridgeError('token_expired', `the token expired at ${new Date(expiresAt).toISOString()}`)
  if (notBefore !== undefined && now() < notBefore - clockToleranceMs)
    throw new BridgeError('token_not_active', `the token is valid from ${new Date(notBefore).toISOString()}`)
  // A token from the future would outlive the removal of its user from a room.
  if (issuedAt !== undefined && now() < issuedAt - clockToleranceMs)
    throw new BridgeError('token_not_active', `the token says that it will be issued at ${new Date(issuedAt).toISOString()}: compare the clocks`)
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
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new BridgeError('token_claims', `the claim ${name} is not a number of seconds since 1970`)
  if (Math.abs(value) > maxSeconds)
    throw new BridgeError('token_claims', `the claim ${name} is ${value}, which looks like milliseconds; it is seconds since 1970`)
  return value * 1000
}
