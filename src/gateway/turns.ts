/** What newcomers may take of one turn of the event loop: whoever is logged in waits no longer than a few times this. */
const budgetMs = 2

/** So many that are done are kept in a queue: moving the others each time would cost more. */
const maxDone = 256

export interface TurnsOptions {
  /** Who comes when somebody has waited for so long would wait for longer: it is not let in, and may try elsewhere. */
  readonly maxWaitMs: number
  /** Bounds their memory: a connection and a request each. */
  readonly maxWaiting: number
  /** Milliseconds. */
  readonly now: () => number
}

interface Newcomer {
  readonly job: () => void
  readonly since: number
}

/**
 * Work for newcomers, done a little in each turn of the event loop. One turn reads from all sockets that have something to say, and with hundreds of
 * handshakes among them it would be long: events of those who are logged in would wait until it is over, several times.
 */
export class Turns {
  readonly #options: TurnsOptions
  /** Of those who have been let in. They are first: so a crowd gets in one after the other, and not all of them at the end. */
  readonly #begun = new Queue<() => void>()
  readonly #newcomers = new Queue<Newcomer>()
  /** Whether this turn has been used; then the rest waits for its end, when the budget counts. */
  #isUsed = false

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /** As `take`, for who has only just come. False: so many are waiting, or for so long, that it is not done at all. */
  offer(job: () => void): boolean {
    const { maxWaiting, maxWaitMs, now } = this.#options
    const since = now()
    const first = this.#newcomers.first
    if (this.#newcomers.size >= maxWaiting || (first !== undefined && since - first.since > maxWaitMs)) return false
    if (this.#isUsed) this.#newcomers.push({ job, since })
    else this.#begin(job)
    return true
  }

  /** Does it at once, or, when somebody was first in this turn, later and in order. `job` must not throw. */
  take(job: () => void): void {
    if (this.#isUsed) this.#begun.push(job)
    else this.#begin(job)
  }

  #begin(job: () => void): void {
    this.#isUsed = true
    setImmediate(() => void this.#work())
    job()
  }

  async #work(): Promise<void> {
    const end = performance.now() + budgetMs
    do {
      const job = this.#begun.shift() ?? this.#newcomers.shift()?.job
      if (job === undefined) break
      job()
      // Until all has happened that follows from it in this turn.
      await new Promise<void>((resolve) => process.nextTick(resolve))
    } while (performance.now() < end)
    this.#isUsed = this.#begun.size + this.#newcomers.size > 0
    if (this.#isUsed) setImmediate(() => void this.#work())
  }
}

/** First in, first out; taking one out does not move the others. */
class Queue<T> {
  #items: T[] = []
  #next = 0

  get size(): number {
    return this.#items.length - this.#next
  }

  get first(): T | undefined {
    return this.#items[this.#next]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#next]
    if (item === undefined) return undefined
    this.#next++
    if (this.#next === this.#items.length || this.#next === maxDone) {
      this.#items = this.#items.slice(this.#next)
      this.#next = 0
    }
    return item
  }
}
