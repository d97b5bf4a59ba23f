import type { Appended } from '../core/event-log.ts'
import type { Prepared } from './append.ts'
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
// What may wait: a disk that is slower than the publishers must not fill the memory. As for the log in Redis.
const maxQueuedEntries = 65_536
const maxQueuedBytes = 2 ** 26

/** What waits to be stored, in order. */
export class AppendQueue {
  #appends: Append[] = []
  #entries = 0
  #bytes = 0

  get isFull(): boolean {
    return this.#entries >= maxQueuedEntries || this.#bytes >= maxQueuedBytes
  }

  get isEmpty(): boolean {
    return this.#appends.length === 0
  }

  push(append: Append): void {
    this.#appends.push(append)
    this.#entries += append.prepared.length
    this.#bytes += append.bytes
  }

  /** The next ones that can go the same way; one at least, however large, unless there is none. */
  take(): Group {
    let entries = 0
    let bytes = 0
    let end = 0
    const placeable = this.#appends[0]?.prepared.every(isPlaceable) ?? true
    for (const append of this.#appends) {
      const fits = entries + append.prepared.length <= maxGroupEntries && bytes + append.bytes <= maxGroupBytes
      if (end > 0 && !(fits && append.prepared.every(isPlaceable) === placeable)) break
      entries += append.prepared.length
      bytes += append.bytes
      end++
    }
    this.#entries -= entries
    this.#bytes -= bytes
    return { appends: this.#appends.splice(0, end), entries, bytes, placeable }
  }
}
