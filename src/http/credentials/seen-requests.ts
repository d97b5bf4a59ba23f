import { BridgeError } from '../../errors.ts'

/** How far the clock of a publisher may be off, and how long a request may take. */
export const toleranceSeconds = 300

/** About 60 MB. More within five minutes are told to wait: to forget one would let it come again. */
const maxSeen = 500_000

/** The signed requests that have come, each as long as its timestamp would still be taken. */
export class SeenRequests {
  readonly #now: () => number
  /** By timestamp, so that all of a second are forgotten together. */
  readonly #seconds = new Map<number, Set<string>>()
  #size = 0
  #sweptAt = 0

  /** `now`: milliseconds since 1970. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Whether it is new. `timestamp`: in seconds. @throws BridgeError rate_limited */
  add(content: string, timestamp: number): boolean {
    this.#sweep()
    const second = this.#seconds.get(timestamp) ?? new Set()
    if (second.has(content)) return false
    if (this.#size >= maxSeen) throw new BridgeError('rate_limited', `more than ${maxSeen} signed requests within ${toleranceSeconds} seconds`)
    this.#seconds.set(timestamp, second.add(content))
    this.#size++
    return true
  }

  #sweep(): void {
    const now = Math.floor(this.#now() / 1000)
    if (now === this.#sweptAt) return
    this.#sweptAt = now
    for (const [timestamp, { size }] of this.#seconds) {
      if (timestamp >= now - toleranceSeconds - 1) continue
      this.#seconds.delete(timestamp)
      this.#size -= size
    }
  }
}
