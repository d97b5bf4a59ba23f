export interface AllowanceOptions {
  /** How many requests may be made at once. */
  readonly burst: number
  /** How many in the long run. */
  readonly perSecond: number
  readonly now: () => number
}

/** What a session may still ask for: a bucket of tokens, without a timer. */
export class Allowance {
  readonly #options: AllowanceOptions
  #left: number
  #at: number

  constructor(options: AllowanceOptions) {
    this.#options = options
    this.#left = options.burst
    this.#at = options.now()
  }

  /** Whether one more request is within it; takes it if so. */
  take(): boolean {
    const { burst, perSecond } = this.#options
    const now = this.#options.now()
    this.#left = Math.min(burst, this.#left + (Math.max(0, now - this.#at) / 1000) * perSecond)
    this.#at = now
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }
}
