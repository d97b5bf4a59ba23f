import type { Appended } from '../../core/event-log.ts'
import { BridgeError } from '../../errors.ts'
import type { Frame } from './wire.ts'

/** What one caller appends, until it is told what came of it. */
export interface Append {
  readonly frames: readonly Frame[]
  readonly bytes: number
  /** See `EventLog.append`. */
  readonly errand: symbol | undefined
  /** By the clock of `performance`. */
  readonly deadline: number
  readonly resolve: (appended: readonly Appended[]) => void
  readonly reject: (error: unknown) => void
}

/** As what a group is known to the script when it comes again. */
export interface Numbered {
  readonly writer: string
  readonly number: number
  readonly rememberMs: number
}

export interface Group extends Numbered {
  readonly appends: readonly Append[]
}

// Bounds of one group: how long the script holds Redis up, and how much is sent again when a connection breaks.
export const maxGroupEntries = 256
const maxGroupBytes = 2 ** 22
// Bounds of what waits for its group.
const maxQueuedEntries = 65_536
const maxQueuedBytes = 2 ** 26
/** Longer than any group is sent again. */
export const rememberMs = 120_000
/** Longer than the troubles through which an errand is repeated. One is remembered for each process. */
const rememberErrandMs = 86_400_000

/** What waits to be written, in order. Errands have a group each, with numbers of their own, so that they can come again. */
export class GroupQueue {
  readonly #writer: string
  #appends: Append[] = []
  #entries = 0
  #bytes = 0
  #groups = 0
  #errands = 0
  #lastErrand: symbol | undefined

  constructor(writer: string) {
    this.#writer = writer
  }

  get isEmpty(): boolean {
    return this.#appends.length === 0
  }

  get isFull(): boolean {
    return this.#entries >= maxQueuedEntries || this.#bytes >= maxQueuedBytes
  }

  push(append: Append): void {
    this.#appends.push(append)
    this.#entries += append.frames.length
    this.#bytes += append.bytes
  }

  take(): Group {
    const errand = this.#appends[0]?.errand
    let entries = 0
    let bytes = 0
    const end = this.#appends.findIndex((append, index) => {
      entries += append.frames.length
      bytes += append.bytes
      return index > 0 && (errand !== undefined || append.errand !== undefined || entries > maxGroupEntries || bytes > maxGroupBytes)
    })
    const appends = this.#remove(end === -1 ? this.#appends.length : end)
    if (errand === undefined) return { writer: this.#writer, number: ++this.#groups, rememberMs, appends }
    if (errand !== this.#lastErrand) this.#errands++
    this.#lastErrand = errand
    return { writer: `${this.#writer}-errand`, number: this.#errands, rememberMs: rememberErrandMs, appends }
  }

  rejectAll(reason: string): void {
    this.#reject(this.#appends.length, reason)
  }

  rejectLate(now: number): void {
    const inTime = this.#appends.findIndex(({ deadline }) => deadline > now)
    this.#reject(inTime === -1 ? this.#appends.length : inTime, 'Redis has not answered in time')
  }

  #reject(count: number, reason: string): void {
    for (const { reject } of this.#remove(count)) reject(new BridgeError('log_unavailable', reason))
  }

  #remove(count: number): readonly Append[] {
    const removed = this.#appends.splice(0, count)
    for (const { frames, bytes } of removed) {
      this.#entries -= frames.length
      this.#bytes -= bytes
    }
    return removed
  }
}
