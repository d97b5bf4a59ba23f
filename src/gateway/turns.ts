/** What newcomers may take of one turn of the event loop: whoever is logged in waits no longer than a few times this. */
const budgetMs = 2

/**
 * Work for newcomers, done a little in each turn of the event loop. One turn reads from all sockets that have something to say, and with hundreds of
 * handshakes among them it would be long: events of those who are logged in would wait until it is over, several times.
 */
export class Turns {
  readonly #maxWaiting: number
  #waiting: (() => void)[] = []
  /** Whether this turn has been used; then the rest waits for its end, when the budget counts. */
  #isUsed = false

  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting
  }

  /** As `take`, for who has only just come. False: so many are waiting that it is not done at all. */
  offer(job: () => void): boolean {
    if (this.#waiting.length >= this.#maxWaiting) return false
    this.take(job)
    return true
  }

  /** Does it at once, or, when somebody was first in this turn, later and in order. `job` must not throw. */
  take(job: () => void): void {
    if (this.#isUsed) this.#waiting.push(job)
    else {
      this.#isUsed = true
      setImmediate(() => void this.#work())
      job()
    }
  }

  async #work(): Promise<void> {
    const end = performance.now() + budgetMs
    let done = 0
    for (; done < this.#waiting.length && performance.now() < end; done++) {
      this.#waiting[done]?.()
      // Until all has happened that follows from it in this turn.
      await new Promise<void>((resolve) => process.nextTick(resolve))
    }
    this.#waiting = this.#waiting.slice(done)
    this.#isUsed = this.#waiting.length > 0
    if (this.#isUsed) setImmediate(() => void this.#work())
  }
}
