import type { EventEntry, Stored } from '../../src/core/entry.ts'
import type { Notice } from '../../src/core/notice.ts'
import type { SessionEnd } from '../../src/core/observer.ts'
import type { Connection } from '../../src/core/session.ts'
import type { Item } from './entitlement.ts'

/** A session's line that keeps what is sent until the test lets the client take it. */
export class MemoryConnection implements Connection {
  readonly transport = 'memory'
  readonly forwarded = {}
  /** What the client has taken; the rest is lost when the line is cut. */
  readonly taken: Item[] = []
  ended: SessionEnd | undefined
  readonly #capacity: number
  readonly #onEnd: () => void
  #position: number
  #waiting: Item[] = []
  #takers: (() => void)[] = []

  /** `capacity`: how many things may wait for the client before the line is full; infinite: it takes everything at once. */
  constructor(capacity: number, onEnd: () => void, after = 0) {
    this.#position = after
    this.#capacity = capacity
    this.#onEnd = onEnd
  }

  send(events: readonly Stored<EventEntry>[]): void {
    for (const { position, entry } of events) this.#put({ position, event: entry.event })
  }

  notify({ event, data }: Notice, position = this.#position): void {
    if (event === 'sidecast:expiring') this.#put({ position, expiresAt: data.expiresAt })
    else if (event === 'sidecast:ready') this.#put({ position, ready: data.rooms })
    else this.#put({ position, room: data.room, entered: event === 'sidecast:joined', by: data.by })
  }

  get full(): boolean {
    return this.ended === undefined && this.#waiting.length >= this.#capacity
  }

  room(): Promise<void> | undefined {
    if (this.ended !== undefined || this.#waiting.length === 0 || this.#waiting.length * 2 < this.#capacity) return undefined
    return new Promise((resolve) => this.#takers.push(resolve))
  }

  close(end: SessionEnd): void {
    if (this.ended !== undefined) return
    this.ended = end
    this.#waiting = []
    this.#onEnd()
    this.#wake()
  }

  take(count: number): number {
    const items = this.#waiting.splice(0, count)
    this.taken.push(...items)
    this.#wake()
    return items.length
  }

  #put(item: Item): void {
    if (this.ended !== undefined) return
    this.#position = item.position
    if (this.#capacity === Number.POSITIVE_INFINITY) this.taken.push(item)
    else this.#waiting.push(item)
  }

  #wake(): void {
    for (const resolve of this.#takers.splice(0)) resolve()
  }
}
