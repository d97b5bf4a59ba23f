import type { IssuerOptions } from '../auth/issuer.ts'
import { patternsOf, rankOf } from '../auth/issuers.ts'
import { type Jws, parseJws } from '../auth/jws.ts'
import { createTokenVerifier } from '../auth/tokens.ts'
import type { Identity } from '../core/identity.ts'
import { BridgeError, type ErrorCode } from '../errors.ts'
import { type KnownKeys, loadKeys, rememberingFetch } from './known-keys.ts'
import { cureOf } from './token-cures.ts'
import { type Rule, ruleOf, rules } from './token-rules.ts'

export interface CheckOptions {
  readonly issuers: readonly IssuerOptions[]
  readonly reservedAudiences: readonly string[]
  readonly now: () => number
}

export interface Check {
  readonly title: string
  readonly outcome: 'ok' | 'REFUSED' | 'not checked'
  /** What the check asks for, or why it refuses. */
  readonly detail: string
  readonly cures: readonly string[]
}

export interface Examination {
  /** In the order in which the bridge makes them. */
  readonly checks: readonly Check[]
  /** Whose token it is, when that could be said. */
  readonly issuer?: IssuerOptions
  /** Present when every check is passed. */
  readonly identity?: Identity
  /** The codes, the first one is what a client is told. */
  readonly refusals: readonly ErrorCode[]
}

/** What a cure may go by. */
export interface Findings {
  readonly token: string
  readonly jws: Jws | undefined
  readonly issuer: IssuerOptions | undefined
  readonly keys: readonly KnownKeys[]
  /** The names of other issuers whose keys have signed it. */
  readonly signers: readonly string[]
}

/**
 * Verifies by the bridge's own verifier. What refuses the token is noted and then not asked for again, so that all that is wrong with a well-signed token is told
 * and not only the first of it.
 */
export async function examine(token: string, options: CheckOptions): Promise<Examination> {
  const fetch = rememberingFetch()
  const verify = async (relaxed: CheckOptions): Promise<Identity> => {
    const verifier = createTokenVerifier({ ...relaxed, fetch, onFailure: () => {} })
    try {
      return await verifier.verify(token)
    } finally {
      verifier.close()
    }
  }
  const { refusals, stoppedBy, identity } = await collect(token, options, verify)
  const jws = readJws(token)
  const issuer = issuerOf(jws, options.issuers)
  const keys = await Promise.all((issuer?.keys ?? []).map((origin) => loadKeys(origin, fetch)))
  const isForeign = refusals.some(({ code }) => code === 'token_issuer' || code === 'token_signature' || code === 'unavailable')
  const signers = isForeign && jws !== undefined ? await findSigners(jws, options, issuer, verify) : []
  const findings: Findings = { token, jws, issuer, keys, signers }
  const reached = stoppedBy === undefined ? rules.length : rules.indexOf(ruleOf(stoppedBy))
  const checks = rules.map((rule, index) => toCheck(rule, index, { reached, refusals, findings }))
  return {
    checks,
    refusals: [...new Set(refusals.map(({ code }) => code))],
    ...(issuer === undefined ? {} : { issuer }),
    ...(refusals.length > 0 || identity === undefined ? {} : { identity }),
  }
}

interface Collected {
  readonly refusals: readonly BridgeError[]
  readonly identity?: Identity
  /** What could not be left out to look behind it. */
  readonly stoppedBy?: BridgeError
}

/** A token is wrong in no more ways than there are rules, required claims included. */
const maxRefusals = 50

async function collect(token: string, options: CheckOptions, verify: (relaxed: CheckOptions) => Promise<Identity>): Promise<Collected> {
  const refusals: BridgeError[] = []
  let relaxed: CheckOptions | undefined = options
  while (relaxed !== undefined && refusals.length < maxRefusals) {
    try {
      return { refusals, identity: await verify(relaxed) }
    } catch (error) {
      if (!(error instanceof BridgeError)) throw error
      if (refusals.some(({ code, message }) => code === error.code && message === error.message)) return { refusals, stoppedBy: error }
      refusals.push(error)
      relaxed = without(error, relaxed, token)
    }
  }
  const stoppedBy = refusals.at(-1)
  return { refusals, ...(stoppedBy === undefined ? {} : { stoppedBy }) }
}

/** The options without what refused the token; undefined when nothing can be said behind it. */
function without(error: BridgeError, { issuers, ...rest }: CheckOptions, token: string): CheckOptions | undefined {
  const change = (changed: (issuer: IssuerOptions) => Partial<IssuerOptions>): CheckOptions => ({
    ...rest,
    issuers: issuers.map((issuer) => ({ ...issuer, ...changed(issuer) })),
  })
  const { id } = ruleOf(error)
  switch (id) {
    case 'issuer': {
      const iss = readJws(token)?.claims.iss
      return issuers.length === 1 && typeof iss === 'string' && !iss.endsWith('*') ? change(() => ({ issuers: [iss] })) : undefined
    }
    case 'expiry':
    case 'not-before':
      return change(() => ({ clockToleranceMs: Number.POSITIVE_INFINITY }))
    case 'life':
      return { ...rest, issuers: issuers.map(({ maxLifeMs: _, ...issuer }) => issuer) }
    case 'dates':
      return error.message.includes('no exp')
        ? { ...rest, issuers: issuers.map(({ maxLifeMs: _, ...issuer }) => ({ ...issuer, requireExp: false })) }
        : undefined
    case 'audience':
      return rest.reservedAudiences.length > 0 && error.message.includes('not a login') ? undefined : change(() => ({ audiences: [] }))
    case 'party':
      return change(() => ({ authorizedParties: [] }))
    case 'type':
      return change(() => ({ types: [] }))
    case 'required':
      return change(({ requiredClaims }) => ({ requiredClaims: requiredClaims.filter((claim) => !error.message.includes(`; ${claim} is required`)) }))
    case 'form':
    case 'keys':
    case 'signature':
    case 'claims':
      return undefined
    default:
      return id satisfies never
  }
}

/** Undefined: not even its form is good. */
function readJws(token: string): Jws | undefined {
  try {
    return parseJws(token)
  } catch (error) {
    if (error instanceof BridgeError) return undefined
    throw error
  }
}

/** Whose token it says it is, as the bridge chooses. */
function issuerOf(jws: Jws | undefined, issuers: readonly IssuerOptions[]): IssuerOptions | undefined {
  if (jws === undefined) return undefined
  const [only, second] = issuers
  if (second === undefined) return only
  const ranked = issuers.map((issuer) => {
    const patterns = patternsOf(issuer)
    return { issuer, rank: patterns.length === 0 ? 0 : Math.max(...patterns.map((pattern) => rankOf(pattern, jws.claims.iss))) }
  })
  return ranked.filter(({ rank }) => rank >= 0).toSorted((a, b) => b.rank - a.rank)[0]?.issuer
}

/** Who else would have accepted its signature. */
async function findSigners(
  { claims: { iss } }: Jws,
  { issuers, ...rest }: CheckOptions,
  chosen: IssuerOptions | undefined,
  verify: (relaxed: CheckOptions) => Promise<Identity>,
): Promise<readonly string[]> {
  const tried = await Promise.all(
    issuers.map(async (issuer) => {
      if (issuer === chosen) return []
      try {
        await verify({ ...rest, issuers: [{ ...issuer, issuers: typeof iss === 'string' ? [iss] : [] }] })
        return [issuer.name]
      } catch (error) {
        if (!(error instanceof BridgeError)) throw error
        return ['form', 'issuer', 'keys', 'signature'].includes(ruleOf(error).id) ? [] : [issuer.name]
      }
    }),
  )
  return tried.flat()
}

function toCheck(
  rule: Rule,
  index: number,
  { reached, refusals, findings }: { readonly reached: number; readonly refusals: readonly BridgeError[]; readonly findings: Findings },
): Check {
  const { title } = rule
  const refused = refusals.filter((error) => ruleOf(error) === rule)
  if (refused.length > 0)
    return { title, outcome: 'REFUSED', detail: refused.map(({ message }) => message).join('; '), cures: cureOf(rule, refused, findings) }
  // An algorithm that nobody has is found with the form, before there is an issuer.
  const isReached = findings.jws === undefined ? rule.id === 'form' && refusals.some(({ code }) => code === 'token_signature') : index < reached
  const { issuer, keys } = findings
  if (!isReached || (issuer === undefined && rule.id !== 'form')) return { title, outcome: 'not checked', detail: '', cures: [] }
  return { title, outcome: 'ok', detail: rule.asks(issuer, keys), cures: [] }
}
