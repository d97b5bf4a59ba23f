import { BridgeError } from '../errors.ts'
import { WatchedFile } from '../files/watched-file.ts'
import type { IssuerOptions, KeyOrigin } from './issuer.ts'
import { isSignedBy, type Jws, quote } from './jws.ts'
import { fileKeys, fixedKeys, type KeySource } from './key-source.ts'
import type { TokenAlgorithm, VerifyKey } from './keys.ts'
import { type FetchTiming, RemoteKeys } from './remote-keys.ts'

export interface KeyWatching {
  readonly fetch: typeof globalThis.fetch
  readonly timing: FetchTiming & { readonly pollMs: number }
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Told of what went wrong in the background and was survived. */
  readonly onFailure: (error: unknown) => void
}

/** How many keys are tried for one token: a token that names none must not cost as many signatures as an issuer has keys. */
export const maxTries = 20

/** The keys of one issuer. They verify its tokens and no others'. */
export class IssuerKeys {
  readonly #issuer: IssuerOptions
  readonly #sources: readonly KeySource[]
  readonly #now: () => number

  /** @throws BridgeError invalid_config for keys that cannot be read or serve no algorithm that is asked for */
  constructor(issuer: IssuerOptions, watching: KeyWatching) {
    this.#issuer = issuer
    this.#sources = issuer.keys.map((origin) => toSource(origin, watching))
    this.#now = watching.now
    const mayCome = issuer.keys.some(({ kind }) => kind === 'jwks' || kind === 'oidc')
    if (!mayCome && !this.#keys.some(({ algorithms }) => algorithms.some((algorithm) => this.#allows(algorithm))))
      throw new BridgeError(
        'invalid_config',
        `issuer ${issuer.name}: SIDECAST_JWT_ALGORITHMS leaves no algorithm that the configured keys can verify`,
      )
  }

  start(): void {
    for (const source of this.#sources) source.start()
  }

  close(): void {
    for (const source of this.#sources) source.close()
  }

  /** Why there are no keys from somewhere; absent when there are from everywhere. */
  get failure(): string | undefined {
    return this.#sources.find(({ failure }) => failure !== undefined)?.failure
  }

  /** @throws BridgeError token_signature; unavailable while nobody can say */
  async verify(jws: Jws): Promise<void> {
    if (!this.#allows(jws.algorithm)) throw refusal(`${jws.algorithm} is not among its algorithms`, this.#issuer)
    if (this.#isSigned(jws)) return
    // Also when the key that it names is known: some issuers give a new key the name of an old one.
    if ((await this.#refresh()) && this.#isSigned(jws)) return
    const { failure } = this
    if (failure !== undefined) throw new BridgeError('unavailable', `the issuer ${this.#issuer.name} has no keys yet: ${failure}`)
    const reason = this.#whyNone(jws)
    // The next fetch will tell. What the token says of itself is not verified: it decides about nothing but another try. Strangers can make any number of such
    // tokens, so each counts against whoever shows it; a limit for all together would let them turn away those whose key is new.
    if (jws.kid !== undefined && this.#isYounger(jws))
      throw new BridgeError('unavailable', `the key of the token may be newer than the last fetch: ${reason}`, { suspect: true })
    throw refusal(reason, this.#issuer)
  }

  get #keys(): readonly VerifyKey[] {
    return this.#sources.flatMap(({ keys }) => keys)
  }

  /** When the oldest of the fetched sets was fetched. */
  get #fetchedAt(): number | undefined {
    const times = this.#sources.flatMap(({ fetchedAt = [] }) => fetchedAt)
    return times.length === 0 ? undefined : Math.min(...times)
  }

  #allows(algorithm: TokenAlgorithm): boolean {
    return this.#issuer.algorithms.length === 0 || this.#issuer.algorithms.includes(algorithm)
  }

  /** Keys that may have signed it: of the right kind, and of the name that it gives unless they have none. */
  #candidates({ algorithm, kid: named }: Jws): readonly VerifyKey[] {
    return this.#keys.filter(({ kid, algorithms }) => algorithms.includes(algorithm) && (named === undefined || kid === undefined || kid === named))
  }

  #isSigned(jws: Jws): boolean {
    return this.#candidates(jws)
      .slice(0, maxTries)
      .some(({ key }) => isSignedBy(jws, key))
  }

  /** Whether something was fetched. */
  async #refresh(): Promise<boolean> {
    const fetched = await Promise.all(this.#sources.map((source) => source.refresh()))
    return fetched.includes(true)
  }

  /** Whether it says that it was issued since the keys were fetched. */
  #isYounger({ claims: { iat } }: Jws): boolean {
    return typeof iat === 'number' && this.#fetchedAt !== undefined && iat * 1000 >= this.#fetchedAt - this.#issuer.clockToleranceMs
  }

  #whyNone(jws: Jws): string {
    const { length } = this.#candidates(jws)
    const name = jws.kid === undefined ? '' : ` with the kid ${quote(jws.kid)}`
    const age = this.#fetchedAt === undefined ? '' : `; the issuer's keys were fetched ${Math.round((this.#now() - this.#fetchedAt) / 1000)} s ago`
    if (length === 0) return `no key${name} can verify ${jws.algorithm}${age}`
    return `none of the ${Math.min(length, maxTries)} keys that were tried${name} has signed it with ${jws.algorithm}${age}`
  }
}

const refusal = (reason: string, { name }: IssuerOptions): BridgeError => new BridgeError('token_signature', `issuer ${name}: ${reason}`)

function toSource(origin: KeyOrigin, { timing, fetch, now, onFailure }: KeyWatching): KeySource {
  switch (origin.kind) {
    case 'fixed':
      return fixedKeys(origin.keys)
    case 'file':
      return fileKeys(new WatchedFile({ path: origin.path, parse: origin.parse, pollMs: timing.pollMs, onFailure }))
    case 'jwks':
    case 'oidc':
      return new RemoteKeys({ origin, ...timing, fetch, now, onFailure })
    default:
      return origin satisfies never
  }
}
