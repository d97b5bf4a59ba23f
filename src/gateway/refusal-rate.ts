/** So many networks are remembered; the one that was refused longest ago is forgotten first. */
const maxNetworks = 20_000

/** A short burst is what a user with several tabs and an expired token makes, or an office behind one address. */
const burstMs = 10_000

/** All networks together may have so many times the refusals of one. */
const allTogether = 4

/** A token bucket without a timer: all that is kept is the moment when it is full again. */
class Bucket {
  readonly #intervalMs: number
  #fullAt = 0
  takenAt = 0

  constructor(perSecond: number) {
    this.#intervalMs = 1000 / perSecond
  }

  isEmpty(now: number): boolean {
    const wait = this.#fullAt - now
    // Longer than there is room in a bucket: the clock was put back.
    return wait > burstMs - this.#intervalMs && wait <= burstMs
  }

  take(now: number): void {
    this.#fullAt = Math.min(Math.max(this.#fullAt, now) + this.#intervalMs, now + burstMs)
    this.takenAt = now
  }
}

/**
 * How fast refusals come, from each network and from all. When all together make too many, whoever was refused a moment ago waits: a flood that comes from
 * a thousand networks stays within the limit of each, and newcomers from elsewhere have nothing to do with it.
 */
export class RefusalRate {
  readonly #perSecond: number
  readonly #now: () => number
  readonly #all: Bucket
  /** The oldest refusal first. */
  readonly #networks = new Map<string, Bucket>()

  /** `perSecond` 0: there is no limit. `now`: milliseconds. */
  constructor(perSecond: number, now: () => number) {
    this.#perSecond = perSecond
    this.#now = now
    this.#all = new Bucket(perSecond * allTogether)
  }

  isSpent(network: string): boolean {
    const bucket = this.#networks.get(network)
    if (bucket === undefined) return false
    const now = this.#now()
    return bucket.isEmpty(now) || (this.#all.isEmpty(now) && Math.abs(now - bucket.takenAt) < burstMs)
  }

  count(network: string): void {
    if (this.#perSecond === 0) return
    const now = this.#now()
    const bucket = this.#networks.get(network) ?? new Bucket(this.#perSecond)
    for (const one of [bucket, this.#all]) one.take(now)
    this.#networks.delete(network)
    this.#networks.set(network, bucket)
    if (this.#networks.size <= maxNetworks) return
    const [oldest = ''] = this.#networks.keys()
    this.#networks.delete(oldest)
  }
}
