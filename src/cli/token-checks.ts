import { toIdentity } from '../auth/claims.ts'
import { createTokenVerifier, type TokenOptions } from '../auth/tokens.ts'
import type { Identity } from '../core/identity.ts'
import { BridgeError, type ErrorCode } from '../errors.ts'
import { findOtherReading } from './other-readings.ts'

/** What a token says, whoever wrote it. */
export interface Content {
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
}

/** Decodes without any check; undefined when there is nothing to decode. */
export function decode(token: string): Content | undefined {
  const [header, claims] = token
    .split('.')
    .slice(0, 2)
    .map((part) => toRecord(Buffer.from(part, 'base64url').toString()))
  return header === undefined || claims === undefined ? undefined : { header, claims }
}

function toRecord(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

export interface Check {
  readonly title: string
  readonly outcome: 'ok' | 'REFUSED' | 'not checked'
  /** What the check asks for, or why it refuses. */
  readonly detail: string
  readonly cure?: string
}

export interface Examination {
  /** In the order in which the bridge makes them. */
  readonly checks: readonly Check[]
  /** Present when every check is passed. */
  readonly identity?: Identity
  readonly refusals: readonly ErrorCode[]
}

/**
 * Verifies as the bridge does. What refuses the token is noted and then not asked for again, so that all that is wrong with a well-signed token is told
 * and not only the first of it.
 */
export async function examine(token: string, options: TokenOptions): Promise<Examination> {
  const refusals = new Map<ErrorCode, string[]>()
  const attempt = async (relaxed: TokenOptions): Promise<{ readonly identity?: Identity; readonly stoppedBy?: BridgeError }> => {
    try {
      return { identity: await createTokenVerifier(relaxed).verify(token) }
    } catch (error) {
      if (!(error instanceof BridgeError)) throw error
      const noted = refusals.get(error.code) ?? []
      if (noted.includes(error.message)) return { stoppedBy: error }
      refusals.set(error.code, [...noted, error.message])
      const next = without(error.code, relaxed)
      return next === undefined ? { stoppedBy: error } : attempt(next)
    }
  }
  const { identity, stoppedBy } = await attempt(options)
  const reached = stoppedBy === undefined ? rules.length : reachedRules(stoppedBy, token, options)
  const checks = rules.map((rule, index): Check => {
    const refused = refusals.get(rule.code)
    if (refused !== undefined)
      return { title: rule.title, outcome: 'REFUSED', detail: refused.join('; '), cure: cureOf(rule, refused, token, options) }
    return index < reached
      ? { title: rule.title, outcome: 'ok', detail: rule.asks(options) }
      : { title: rule.title, outcome: 'not checked', detail: '' }
  })
  return { checks, refusals: [...refusals.keys()], ...(refusals.size > 0 || identity === undefined ? {} : { identity }) }
}

function cureOf({ code, cure }: Rule, refused: readonly string[], token: string, options: TokenOptions): string {
  if (code === 'token_malformed' && /^bearer\b/i.test(token))
    return 'leave out the word Bearer: it belongs to the HTTP header, the token begins behind it'
  if (code === 'token_signature') return findOtherReading(token, options) ?? cure
  if (code !== 'token_claims') return cure
  // The messages tell what the claims are like; each has a cure of its own.
  const { claims = {} } = decode(token) ?? {}
  const dates = ['exp', 'nbf', 'iat'].filter((name) => claims[name] !== undefined && typeof claims[name] !== 'number')
  const late = ['exp', 'nbf', 'iat'].filter((name) => typeof claims[name] === 'number' && Math.abs(Number(claims[name])) > 1e11)
  const rooms = claims[options.roomsClaim]
  const cures = [
    ...dates.map((name) => `issue ${name} as a number (${name}: 1795423600, without quotes)`),
    ...late.map((name) => `divide ${name} by 1000 where the token is issued`),
    ...(claims.exp === undefined && options.requireExp
      ? ['give the tokens an exp; SIDECAST_JWT_REQUIRE_EXP=false lets in tokens that are valid for ever']
      : []),
    ...(refused.some((message) => message.includes('SIDECAST_JWT_USER_CLAIM'))
      ? ['name the claim that holds the user: SIDECAST_JWT_USER_CLAIM']
      : []),
    ...(rooms !== undefined && rooms !== null && !Array.isArray(rooms)
      ? [`issue ${options.roomsClaim} as a list, such as ["news","order:*"], or name another claim: SIDECAST_JWT_ROOMS_CLAIM`]
      : []),
    ...(refused.some((message) => message.includes('whole segments'))
      ? ['a * stands for a whole segment between : . or / (order:*), a ** for the rest and only at the end (order:**)']
      : []),
  ]
  return cures.length === 0 ? cure : cures.join('; ')
}

/** The options without what a check needs; undefined when nothing can be said behind it. */
function without(code: ErrorCode, { issuer, audience, ...rest }: TokenOptions): TokenOptions | undefined {
  const ofIssuer = issuer === undefined ? {} : { issuer }
  const ofAudience = audience === undefined ? {} : { audience }
  switch (code) {
    case 'token_expired':
    case 'token_not_active':
      return { ...rest, ...ofIssuer, ...ofAudience, clockToleranceMs: Number.POSITIVE_INFINITY }
    case 'token_issuer':
      return { ...rest, ...ofAudience }
    case 'token_audience':
      return { ...rest, ...ofIssuer }
    case 'token_claims':
      return { ...rest, ...ofIssuer, ...ofAudience, requireExp: false }
    default:
      return undefined
  }
}

/** How many of the rules had their turn before the verifier gave up. */
function reachedRules(stoppedBy: BridgeError, token: string, options: TokenOptions): number {
  if (stoppedBy.code !== 'token_claims') return rules.findIndex(({ code }) => code === stoppedBy.code)
  // Dates that are no numbers are found before the others, an unusable user or room behind them.
  try {
    toIdentity({ ...decode(token)?.claims }, options)
  } catch (error) {
    if (error instanceof BridgeError && error.message === stoppedBy.message) return rules.length
  }
  return rules.findIndex(({ code }) => code === 'token_expired')
}

interface Rule {
  readonly code: ErrorCode
  readonly title: string
  readonly asks: (options: TokenOptions) => string
  readonly cure: string
}

const rules: readonly Rule[] = [
  {
    code: 'token_malformed',
    title: 'form',
    asks: () => 'three base64url parts, the header names an algorithm',
    cure: 'give the whole token as the application issued it; an encrypted one (five parts) cannot be used',
  },
  {
    code: 'token_signature',
    title: 'signature',
    asks: ({ algorithms, keys }) =>
      `by ${keys.length === 1 ? 'the configured key' : `one of ${keys.length} configured keys`}; possible were ${algorithms.join(', ')}`,
    cure: 'the key must be the one that the application signs with: see SIDECAST_JWT_SECRET or SIDECAST_JWT_PUBLIC_KEY, SIDECAST_JWT_SECRET_ENCODING (Java libraries decode base64, PHP libraries do not), SIDECAST_JWT_ALGORITHMS',
  },
  {
    code: 'token_expired',
    title: 'expiry',
    asks: ({ clockToleranceMs }) => `not over, with a tolerance of ${clockToleranceMs / 1000} s`,
    cure: 'log in again for a new one; if it is new, compare the clocks of both machines (SIDECAST_JWT_CLOCK_TOLERANCE)',
  },
  {
    code: 'token_not_active',
    title: 'not before',
    asks: ({ clockToleranceMs }) => `begun, with a tolerance of ${clockToleranceMs / 1000} s`,
    cure: 'compare the clocks of both machines (SIDECAST_JWT_CLOCK_TOLERANCE)',
  },
  {
    code: 'token_issuer',
    title: 'issuer',
    asks: ({ issuer }) => (issuer === undefined ? 'any, since SIDECAST_JWT_ISSUER is not set' : JSON.stringify(issuer)),
    cure: 'set SIDECAST_JWT_ISSUER to the iss of your tokens; leave it out where iss changes (tymon/jwt-auth puts the address of the login request there)',
  },
  {
    code: 'token_audience',
    title: 'audience',
    asks: ({ audience }) => (audience === undefined ? 'any, since SIDECAST_JWT_AUDIENCE is not set' : JSON.stringify(audience)),
    cure: 'set SIDECAST_JWT_AUDIENCE to the aud of your login tokens; a room token is never a login',
  },
  {
    code: 'token_claims',
    title: 'claims',
    asks: ({ userClaims, roomsClaim }) => `user in ${userClaims.join(' or ')}, rooms in ${roomsClaim}`,
    cure: 'name the claims that your tokens have: SIDECAST_JWT_USER_CLAIM, SIDECAST_JWT_ROOMS_CLAIM; SIDECAST_JWT_REQUIRE_EXP=false lets in tokens without exp',
  },
]
