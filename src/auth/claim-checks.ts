import { BridgeError } from '../errors.ts'
import { claimAt } from './claims.ts'
import type { IssuerOptions } from './issuer.ts'
import { type Members, quote } from './jws.ts'

/** The year 5138. What lies beyond are milliseconds taken for seconds, or somebody's trick. */
const maxSeconds = 1e11

/** The dates of a token are checked and become numbers. @throws BridgeError token_claims, token_expired, token_not_active */
export function checkDates(claims: Members, issuer: IssuerOptions, now: number): Members {
  const { requireExp, maxLifeMs, clockToleranceMs } = issuer
  const [exp, nbf, iat] = (['exp', 'nbf', 'iat'] as const).map((name) => toSeconds(claims[name], name, issuer))
  const expiresAt = exp === undefined ? undefined : exp * 1000
  if (expiresAt === undefined && (requireExp || maxLifeMs !== undefined))
    throw new BridgeError('token_claims', 'the token has no exp: it would be valid for ever (SIDECAST_JWT_REQUIRE_EXP, SIDECAST_JWT_MAX_LIFE)')
  if (expiresAt !== undefined && now >= expiresAt + clockToleranceMs)
    throw new BridgeError('token_expired', `the token expired at ${new Date(expiresAt).toISOString()}`)
  if (nbf !== undefined && now < nbf * 1000 - clockToleranceMs)
    throw new BridgeError('token_not_active', `the token is valid from ${new Date(nbf * 1000).toISOString()}`)
  // A token from the future would outlive the removal of its user from a room.
  if (iat !== undefined && now < iat * 1000 - clockToleranceMs)
    throw new BridgeError('token_not_active', `the token says that it will be issued at ${new Date(iat * 1000).toISOString()}: compare the clocks`)
  if (maxLifeMs !== undefined) {
    // Years before its end it would be refused, and be accepted in the end, when the revocation that concerns it is forgotten.
    if (iat === undefined)
      throw new BridgeError('token_claims', 'the token has no iat: nobody can tell how long it has been valid (SIDECAST_JWT_MAX_LIFE)')
    const life = (expiresAt ?? Number.POSITIVE_INFINITY) - iat * 1000
    if (life > maxLifeMs)
      throw new BridgeError('token_claims', `the token is valid for ${life / 1000} s; ${maxLifeMs / 1000} s are the limit (SIDECAST_JWT_MAX_LIFE)`)
  }
  return { ...claims, ...(exp === undefined ? {} : { exp }), ...(nbf === undefined ? {} : { nbf }), ...(iat === undefined ? {} : { iat }) }
}

/** Seconds since 1970; issuers send fractions of a second too, and texts of digits where that is allowed. */
function toSeconds(claim: unknown, name: string, { numericStringDates }: IssuerOptions): number | undefined {
  if (claim === undefined) return undefined
  const value = numericStringDates && typeof claim === 'string' && /^\d{1,15}(\.\d{1,9})?$/.test(claim) ? Number(claim) : claim
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new BridgeError('token_claims', `the claim ${name} is not a number of seconds since 1970`)
  if (Math.abs(value) > maxSeconds)
    throw new BridgeError('token_claims', `the claim ${name} is ${value}, which looks like milliseconds; it is seconds since 1970`)
  return value
}

export function audiencesOf({ aud }: Members): readonly unknown[] {
  return Array.isArray(aud) ? aud : [aud]
}

/** Whom the token is for. `reserved`: audiences of tokens that are no logins, whoever signed them. @throws BridgeError token_audience */
export function checkAudience(claims: Members, { audiences: wanted, authorizedParties }: IssuerOptions, reserved: readonly string[]): void {
  const audiences = audiencesOf(claims)
  const foreign = reserved.find((audience) => audiences.includes(audience))
  if (foreign !== undefined) throw new BridgeError('token_audience', `the token is for ${quote(foreign)}: it is not a login`)
  if (wanted.length > 0 && !wanted.some((audience) => audiences.includes(audience)))
    throw new BridgeError('token_audience', `the audience is ${quote(claims.aud)}, not ${listed(wanted)} (SIDECAST_JWT_AUDIENCE)`)
  const { azp: party = claims.client_id } = claims
  if (authorizedParties.length > 0 && !authorizedParties.some((authorized) => authorized === party))
    throw new BridgeError(
      'token_audience',
      `the authorized party (azp) is ${quote(party)}, not ${listed(authorizedParties)} (SIDECAST_JWT_AUTHORIZED_PARTY)`,
    )
}

/** What kind of token it is. @throws BridgeError token_claims */
export function checkKind({ typ }: Members, claims: Members, { types, requiredClaims }: IssuerOptions): void {
  if (types.length > 0 && !(typeof typ === 'string' && types.some((type) => toKind(type) === toKind(typ))))
    throw new BridgeError('token_claims', `the type (typ) of the token is ${quote(typ)}, not ${listed(types)} (SIDECAST_JWT_TYPE)`)
  for (const required of requiredClaims) {
    const [path = '', ...rest] = required.split('=')
    const claim = claimAt(claims, path)
    const isThere = rest.length === 0 ? claim !== undefined && claim !== null : says(claim, rest.join('='))
    if (!isThere)
      throw new BridgeError('token_claims', `the claim ${path} is ${quote(claim)}; ${required} is required (SIDECAST_JWT_REQUIRED_CLAIMS)`)
  }
}

/** RFC 8725 3.11, RFC 7515 4.1.9. */
const toKind = (type: string): string => type.toLowerCase().replace(/^application\//, '')

/** Lists hold what is one of their items. */
function says(claim: unknown, value: string): boolean {
  const items: readonly unknown[] = Array.isArray(claim) ? claim : [claim]
  return items.some((item) => ['string', 'number', 'boolean'].includes(typeof item) && String(item) === value)
}

const listed = (values: readonly string[]): string => values.map((value) => JSON.stringify(value)).join(' or ')
