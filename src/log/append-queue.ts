import type { Appended } from '../core/event-log.ts'
import type { Prepared } from './append.ts'
import { BoundedQueue } from './bounded-queue.ts'
import { isPlaceable } from './place.ts'

/** What one caller appends, until it is told what came of it. */
export interface Append {
  readonly prepared: readonly Prepared[]
  readonly bytes: number
  readonly resolve: (appended: readonly Appended[]) => void
  readonly reject: (error: unknown) => void
}

/** What is stored together. `placeable`: by way of the journal. */
export interface Group {
  readonly appends: readonly Append[]
  readonly entries: number
  readonly bytes: number
  readonly placeable: boolean
}

// Bounds of one group: how long the event loop is held, and how much is lost when it fails.
const maxGroupEntries = 1024
const maxGroupBytes = 2 ** 20
/** What waits to be stored, in order. */
export class AppendQueue {
  readonly #waiting = new BoundedQueue<Append>(({ prepared }) => prepared.length)

  get isFull(): boolean {
    return this.#waiting.isFull
  }

  get isEmpty(): boolean {
    return this.#waiting.first === undefined
  }

  push(append: Append): void {
    this.#waiting.push(append)
  }

  /** The next ones that can go the same way; one at least, however large, unless there is none. */
  take(): Group {
    const placeable = this.#waiting.first?.prepared.every(isPlaceable) ?? true
    const group = this.#waiting.takeWhile(({ prepared, bytes }, before) => {
      const fits = before.entries + prepared.length <= maxGroupEntries && before.bytes + bytes <= maxGroupBytes
      return before.count === 0 || (fits && prepared.every(isPlaceable) === placeable)
    })
    return { ...group, placeable }
  }
}
