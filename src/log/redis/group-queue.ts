import type { Appended } from '../../core/event-log.ts'
import { BridgeError } from '../../errors.ts'
import { BoundedQueue } from '../bounded-queue.ts'
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
/** Longer than any group is sent again. */
export const rememberMs = 120_000
/** Longer than the troubles through which an errand is repeated. One is remembered for each process. */
const rememberErrandMs = 86_400_000

/** What waits to be written, in order. Errands have a group each, with numbers of their own, so that they can come again. */
export class GroupQueue {
  readonly #writer: string
  readonly #waiting = new BoundedQueue<Append>(({ frames }) => frames.length)
  #groups = 0
  #errands = 0
  #lastErrand: symbol | undefined

  constructor(writer: string) {
    this.#writer = writer
  }

  get isEmpty(): boolean {
    return this.#waiting.first === undefined
  }

  get isFull(): boolean {
    return this.#waiting.isFull
  }

  push(append: Append): void {
    this.#waiting.push(append)
  }

  take(): Group {
    const errand = this.#waiting.first?.errand
    const { appends } = this.#waiting.takeWhile((next, before) => {
      const fits = before.entries + next.frames.length <= maxGroupEntries && before.bytes + next.bytes <= maxGroupBytes
      return before.count === 0 || (errand === undefined && next.errand === undefined && fits)
    })
    if (errand === undefined) return { writer: this.#writer, number: ++this.#groups, rememberMs, appends }
    if (errand !== this.#lastErrand) this.#errands++
    this.#lastErrand = errand
    return { writer: `${this.#writer}-errand`, number: this.#errands, rememberMs: rememberErrandMs, appends }
  }

  rejectAll(reason: string): void {
    this.#reject(() => true, reason)
  }

  rejectLate(now: number): void {
    this.#reject(({ deadline }) => deadline <= now, 'Redis has not answered in time')
  }

  #reject(isConcerned: (append: Append) => boolean, reason: string): void {
    for (const { reject } of this.#waiting.takeWhile(isConcerned).appends) reject(new BridgeError('log_unavailable', reason))
  }
}
