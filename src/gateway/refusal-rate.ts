/** So many networks are remembered; the one that was refused longest ago is forgotten first. */
const maxNetworks = 20_000

/** A short burst is what a user with several tabs and an expired token makes, or an office behind one address. */
const burstSeconds = 10

/**
 * How fast refusals come from each network: a token bucket without a timer, kept as the moment when it is full again. One that is full is worth nothing
 * and is forgotten when its place is needed.
 */
export class RefusalRate {
  readonly #intervalMs: number
  readonly #now: () => number
  /** Milliseconds; the oldest refusal first. */
  readonly #fullAt = new Map<string, number>()

  /** `perSecond` 0: there is no limit. */
  constructor(perSecond: number, now: () => number) {
    this.#intervalMs = 1000 / perSecond
    this.#now = now
  }

  /** Whether the bucket of this network is empty. */
  isSpent(network: string): boolean {
    const fullAt = this.#fullAt.get(network)
    if (fullAt === undefined) return false
    const wait = fullAt - this.#now()
    // Longer than there is room in a bucket: the clock was put back.
    if (wait > burstSeconds * 1000) this.#fullAt.delete(network)
    return wait > burstSeconds * 1000 - this.#intervalMs && wait <= burstSeconds * 1000
  }

  count(network: string): void {
    if (this.#intervalMs === Number.POSITIVE_INFINITY) return
    const now = this.#now()
    const fullAt = Math.max(this.#fullAt.get(network) ?? now, now) + this.#intervalMs
    this.#fullAt.delete(network)
    this.#fullAt.set(network, Math.min(fullAt, now + burstSeconds * 1000))
    if (this.#fullAt.size <= maxNetworks) return
    const [oldest = ''] = this.#fullAt.keys()
    this.#fullAt.delete(oldest)
  }
}
