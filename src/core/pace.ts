/** What those who have more to do may take of one turn of the event loop, all together: everybody else waits no longer than this and the last of them. */
const budgetMs = 10

/** Lets those who have more to do than fits into one turn go on one after the other, so that many of them do not make one long turn. */
export class Pace {
  #waiting: (() => void)[] = []
  #isWorking = false

  /** Resolves in a later turn, in which there is time. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      if (!this.#isWorking) this.#goOn()
    })
  }

  #goOn(): void {
    this.#isWorking = this.#waiting.length > 0
    if (this.#isWorking) setImmediate(() => void this.#work())
  }

  async #work(): Promise<void> {
    // Who comes back meanwhile has had its part of this turn.
    const waiting = this.#waiting
    this.#waiting = []
    const end = performance.now() + budgetMs
    let done = 0
    do {
      waiting[done++]?.()
      // Until it has done what it does in this turn.
      await new Promise<void>((resolve) => process.nextTick(resolve))
    } while (done < waiting.length && performance.now() < end)
    this.#waiting = [...waiting.slice(done), ...this.#waiting]
    this.#goOn()
  }
}
