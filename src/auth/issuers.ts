import type { Check } from '../core/health.ts'
import { BridgeError } from '../errors.ts'
import { checkDates } from './claim-checks.ts'
import type { IssuerOptions } from './issuer.ts'
import { IssuerKeys, type KeyWatching } from './issuer-keys.ts'
import { type Members, parseJws, quote } from './jws.ts'

/** A token whose signature and dates are good. */
export interface Verified {
  readonly issuer: IssuerOptions
  readonly header: Members
  /** With numbers for dates. */
  readonly claims: Members
}

interface Issuer {
  readonly options: IssuerOptions
  readonly keys: IssuerKeys
  /** As `IssuerOptions.issuers`. */
  readonly patterns: readonly string[]
}

/** The issuers that are trusted, side by side: each with its own keys, which never verify the tokens of another. */
export class Issuers {
  readonly #issuers: readonly Issuer[]
  readonly #now: () => number

  /** @throws BridgeError invalid_config */
  constructor(issuers: readonly IssuerOptions[], watching: KeyWatching) {
    this.#now = watching.now
    this.#issuers = issuers.map((options) => ({ options, keys: new IssuerKeys(options, watching), patterns: patternsOf(options) }))
    const claimed = this.#issuers.flatMap(({ patterns }) => (patterns.length === 0 ? ['*, as an empty list'] : patterns))
    const twice = claimed.find((pattern, index) => claimed.indexOf(pattern) < index)
    if (twice !== undefined) throw new BridgeError('invalid_config', `two issuers claim the tokens of ${twice}: give each its own issuer (iss)`)
  }

  start(): void {
    for (const { keys } of this.#issuers) keys.start()
  }

  close(): void {
    for (const { keys } of this.#issuers) keys.close()
  }

  /** One for each issuer whose keys come over the net. */
  checks(): readonly Check[] {
    return this.#issuers
      .filter(({ options }) => options.keys.some(({ kind }) => kind === 'jwks' || kind === 'oidc'))
      .map(({ options, keys: { failure } }) => ({ name: `keys:${options.name}`, ...(failure === undefined ? {} : { failure }) }))
  }

  /** @throws BridgeError a `token_…` code, or unavailable while the keys of the issuer are not known */
  async verify(token: string): Promise<Verified> {
    const jws = parseJws(token)
    // Not verified yet: it chooses whose keys must have signed it, and nothing else.
    const { options, keys } = this.#select(jws.claims.iss)
    await keys.verify(jws)
    return { issuer: options, header: jws.header, claims: checkDates(jws.claims, options, this.#now()) }
  }

  /** Who says it exactly, else by the longest beginning, else who takes all. */
  #select(iss: unknown): Issuer {
    let found: { readonly issuer: Issuer; readonly rank: number } | undefined
    for (const issuer of this.#issuers) {
      const rank = issuer.patterns.length === 0 ? 0 : Math.max(...issuer.patterns.map((pattern) => rankOf(pattern, iss)))
      if (rank >= 0 && rank > (found?.rank ?? -1)) found = { issuer, rank }
    }
    if (found !== undefined) return found.issuer
    const known = this.#issuers.flatMap(({ patterns }) => patterns).map((pattern) => JSON.stringify(pattern))
    throw new BridgeError('token_issuer', `the issuer (iss) is ${quote(iss)}, not ${known.join(' or ')} (SIDECAST_JWT_ISSUER)`)
  }
}

/** OpenID Connect: what an issuer signs has its name as `iss`, whether that is configured or not. */
export function patternsOf({ issuers, keys }: IssuerOptions): readonly string[] {
  return issuers.length > 0 ? issuers : keys.flatMap((origin) => (origin.kind === 'oidc' ? origin.issuer : []))
}

/** How well a pattern fits: below 0 not at all. */
export function rankOf(pattern: string, iss: unknown): number {
  if (pattern === iss) return Number.POSITIVE_INFINITY
  return pattern.endsWith('*') && typeof iss === 'string' && iss.startsWith(pattern.slice(0, -1)) ? pattern.length : -1
}
