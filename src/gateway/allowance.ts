/** How many requests a session may make at once, as a page does when it opens. */
const burst = 200

/** How many it may make in the long run: each is an entry in the log, which keeps as many as it keeps for everybody. */
const perSecond = 10

/** What a session may still ask for: a bucket of tokens, without a timer. */
export class Allowance {
  readonly #now: () => number
  #left = burst
  #at: number

  constructor(now: () => number) {
    this.#now = now
    this.#at = now()
  }

  /** Whether one more request is within it; takes it if so. */
  take(): boolean {
    const now = this.#now()
    this.#left = Math.min(burst, this.#left + (Math.max(0, now - this.#at) / 1000) * perSecond)
    this.#at = now
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }
}
