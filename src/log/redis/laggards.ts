/** How long a client is kept waiting. It tries again after that, perhaps elsewhere. */
const patienceMs = 3000

interface Laggard {
  readonly at: number
  readonly resolve: (caughtUp: boolean) => void
}

/** Who waits until this node has read all that there was when they came. */
export class Laggards {
  #waiting = new Set<Laggard>()
  /** When the last one came, by the clock of `performance`. */
  newestAt = 0

  /** `probe`: sends something through Redis; what stands in front of it is here when it is back. Resolves to false when that takes too long. */
  wait(probe: () => void): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => laggard.resolve(false), patienceMs).unref()
      const laggard: Laggard = {
        at: performance.now(),
        resolve: (caughtUp) => {
          clearTimeout(timer)
          this.#waiting.delete(laggard)
          resolve(caughtUp)
        },
      }
      this.newestAt = laggard.at
      this.#waiting.add(laggard)
      probe()
    })
  }

  /** Something that was sent at this moment is back. */
  release(sentAt: number): void {
    for (const laggard of this.#waiting) if (laggard.at <= sentAt) laggard.resolve(true)
  }
}
