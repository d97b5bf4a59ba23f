import { Batch } from './batch.ts'
import type { Frame } from './frame.ts'
import type { Outbox } from './outbox.ts'

/**
 * What is written at the end of this tick: when the code that is running has returned, before anything that it has resolved goes on. So the events of one
 * commit leave in one write, a lone one is not delayed, and a publisher hears of its event after it was sent. One for all outboxes, in place of a timer each.
 */
export class Tick {
  #outboxes: Outbox[] = []
  #first: Batch | undefined

  /** The first frames of an outbox that has nothing to write yet. */
  begin(outbox: Outbox, frames: readonly Frame[]): Batch {
    if (this.#outboxes.length === 0) queueMicrotask(() => this.#end())
    this.#outboxes.push(outbox)
    if (this.#first?.is(frames) !== true) this.#first = new Batch(frames)
    return this.#first
  }

  #end(): void {
    const outboxes = this.#outboxes
    this.#outboxes = []
    this.#first = undefined
    for (const outbox of outboxes) outbox.flush()
  }
}
