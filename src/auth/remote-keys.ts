import { BridgeError } from '../errors.ts'
import { parseDiscovery, toAddress, toDiscoveryAddress } from './discovery.ts'
import { fetchJson } from './fetch-json.ts'
import { parseJwks } from './jwks.ts'
import type { KeySource } from './key-source.ts'
import type { VerifyKey } from './keys.ts'

export interface FetchTiming {
  /** From one fetch that went well to the next, at most: less when the issuer says that its keys hold for less. */
  readonly refreshMs: number
  /** After the first failure; doubled with each that follows. */
  readonly retryMs: number
  readonly maxRetryMs: number
  /** How long an unknown key makes for no other fetch. */
  readonly coolDownMs: number
  /** For a fetch as a whole, discovery included. */
  readonly timeoutMs: number
}

export interface RemoteKeysOptions extends FetchTiming {
  readonly origin: { readonly kind: 'jwks'; readonly url: string } | { readonly kind: 'oidc'; readonly issuer: string }
  readonly fetch: typeof globalThis.fetch
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly onFailure: (error: unknown) => void
}

/**
 * The keys that an issuer publishes. Fetched in the background, at start and from time to time; what was fetched last stays in force while the issuer is
 * down. A key that is not known may ask for one fetch in between, but strangers choose what keys their tokens name: one at a time, and then none for a while.
 */
export class RemoteKeys implements KeySource {
  readonly #options: RemoteKeysOptions
  /** Where to begin: the key set, or the discovery document that leads to it. */
  readonly #address: URL
  #keys: readonly VerifyKey[] = []
  #fetchedAt: number | undefined
  #failure: string | undefined
  #failures = 0
  /** What the issuer has said with the last ones. */
  #maxAgeMs: number | undefined
  /** When the last fetch began, whatever became of it. */
  #triedAt = Number.NEGATIVE_INFINITY
  #inFlight: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #started = false
  readonly #closing = new AbortController()

  /** @throws BridgeError invalid_config for what is no address */
  constructor(options: RemoteKeysOptions) {
    this.#options = options
    this.#address = options.origin.kind === 'jwks' ? toAddress(options.origin.url) : toDiscoveryAddress(options.origin.issuer)
  }

  get keys(): readonly VerifyKey[] {
    return this.#keys
  }

  get fetchedAt(): number | undefined {
    return this.#fetchedAt
  }

  get failure(): string | undefined {
    if (this.#keys.length > 0) return undefined
    return this.#failure ?? `the keys of ${this.#address.href} have not been fetched yet`
  }

  start(): void {
    this.#started = true
    void this.#fetch()
  }

  close(): void {
    this.#started = false
    clearTimeout(this.#timer)
    this.#closing.abort()
  }

  async refresh(): Promise<boolean> {
    const elapsed = this.#options.now() - this.#triedAt
    // A clock that was set back must not stop the fetching until it has caught up.
    const isCool = elapsed < 0 || elapsed >= this.#options.coolDownMs
    if (this.#inFlight === undefined && !isCool) return false
    await this.#fetch()
    return true
  }

  #fetch(): Promise<void> {
    this.#inFlight ??= this.#fetchOnce().finally(() => {
      this.#inFlight = undefined
      this.#schedule()
    })
    return this.#inFlight
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    if (!this.#started) return
    const { refreshMs, retryMs, maxRetryMs, coolDownMs } = this.#options
    // No oftener than strangers may make it, whatever it says.
    const holdMs = Math.min(refreshMs, Math.max(this.#maxAgeMs ?? refreshMs, coolDownMs))
    const delay = this.#failures === 0 ? holdMs : Math.min(retryMs * 2 ** (this.#failures - 1), maxRetryMs)
    this.#timer = setTimeout(() => void this.#fetch(), delay)
    this.#timer.unref()
  }

  async #fetchOnce(): Promise<void> {
    const { now, onFailure, timeoutMs } = this.#options
    this.#triedAt = now()
    try {
      const { keys, maxAgeMs } = await this.#read(AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]))
      this.#keys = keys
      this.#maxAgeMs = maxAgeMs
      this.#fetchedAt = now()
      this.#failures = 0
      this.#failure = undefined
      // Taken at its word: an issuer may withdraw all of them. It is hardly what it wants.
      if (keys.length === 0) throw new BridgeError('unavailable', `${this.#address.href} publishes no key that can verify`)
    } catch (error) {
      if (this.#closing.signal.aborted) return
      this.#failures++
      this.#failure = error instanceof Error ? error.message : String(error)
      onFailure(this.#describe(error))
    }
  }

  async #read(signal: AbortSignal): Promise<{ readonly keys: readonly VerifyKey[]; readonly maxAgeMs: number | undefined }> {
    const { origin, fetch } = this.#options
    const first = await fetchJson(fetch, this.#address, signal)
    // Discovery is asked each time: an issuer may move its keys.
    const { text, maxAgeMs } = origin.kind === 'jwks' ? first : await fetchJson(fetch, parseDiscovery(first.text, origin.issuer), signal)
    return { keys: parseJwks(text, { secrets: false }), maxAgeMs }
  }

  #describe(error: unknown): BridgeError {
    const consequence = this.#keys.length > 0 ? 'the keys that were fetched before stay in force' : 'its tokens cannot be verified'
    return new BridgeError('unavailable', `the keys of ${this.#address.href} could not be refreshed, ${consequence}: ${this.#failure}`, {
      cause: error,
    })
  }
}
