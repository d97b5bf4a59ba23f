import { BridgeError } from '../errors.ts'

/** How many calls may run at once, and how many may wait for that, in their order. */
export class Slots {
  #free: number
  readonly #maxWaiting: number
  readonly #waiting = new Set<() => void>()

  constructor(count: number, maxWaiting: number) {
    this.#free = count
    this.#maxWaiting = maxWaiting
  }

  /** Resolves when it is one's turn; every `take` that did is followed by one `give`. @throws BridgeError unavailable: too many wait, or the signal came first */
  async take(signal: AbortSignal): Promise<void> {
    if (this.#free > 0) {
      this.#free--
      return
    }
    if (this.#waiting.size >= this.#maxWaiting) throw new BridgeError('unavailable', `${this.#maxWaiting} calls are waiting for their turn already`)
    await new Promise<void>((resolve, reject) => {
      const begin = (): void => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        this.#waiting.delete(begin)
        reject(new BridgeError('unavailable', 'its turn did not come in time: the answers of the others take too long'))
      }
      this.#waiting.add(begin)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  give(): void {
    const [next] = this.#waiting
    if (next === undefined) this.#free++
    else {
      this.#waiting.delete(next)
      next()
    }
  }
}
