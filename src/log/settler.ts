import type { LogCondition } from './log-condition.ts'
import type { LogFile } from './log-file.ts'
import { type Placed, writePlaced } from './place.ts'
import { commitReserveBytes, entryReserveBytes } from './reserve.ts'
import { planRemoval, type Removal, type RetentionOptions, remove } from './retention.ts'
import { emptyState, type State, stateAfter } from './state.ts'
import { Tail } from './tail.ts'

interface SettlerOptions extends RetentionOptions {
  readonly now: () => number
  readonly onFailure: (error: unknown) => void
}

// Bounds of one transaction: how long the event loop is held. Half as many cost a third more: entries lie beside each other, but each stream is a place of its own.
const maxCommitEntries = 1024
// Beside a removal, which takes longer than to write as much.
const maxSweepEntries = 512
// What is new waits for company so long, unless there is enough of it already.
const patienceMs = 50
// Enough to begin with; it is in the memory until then.
const enoughBytes = 2 ** 19
// Beyond it, whoever brings more has to wait.
const maxPendingEntries = 8192
const maxPendingBytes = 2 ** 21
const minSweep = 128
// Removals may use more of what a commit leaves free: they make room.
const sweepReserveBytes = 2 ** 19

/**
 * Brings what was accepted to the tables, behind the journal, and takes from them what is too old. One transaction at a time; whatever else writes to the tables takes
 * its turn here.
 */
export class Settler {
  readonly #file: LogFile
  readonly #options: SettlerOptions
  readonly #condition: LogCondition
  /** What the tables do not have yet. */
  readonly tail = new Tail()
  #settled: State
  #pending: Placed[] = []
  #pendingBytes = 0
  #usedBytes: number
  #turn: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #running = false
  #sweepDue = true
  #sweepFailed = false
  #failed = false
  #closed = false

  constructor(file: LogFile, condition: LogCondition, options: SettlerOptions) {
    this.#file = file
    this.#condition = condition
    this.#options = options
    this.#settled = file.store.state() ?? emptyState
    this.#usedBytes = file.store.usedBytes()
    this.#schedule()
  }

  /** The log with its tail. */
  get state(): State {
    const { tail } = this
    const settled = this.#settled
    return tail.size === 0 ? settled : { head: tail.head, time: tail.time, first: settled.first, kept: settled.kept + tail.kept }
  }

  /** They are durable. */
  add(placed: readonly Placed[]): void {
    for (const one of placed) {
      this.#pending.push(one)
      this.#pendingBytes += one.record.length
      this.tail.addFound(one)
    }
    this.#schedule()
  }

  /**
   * Resolves when there is room for so much, which is what makes a full disk known before anything is accepted.
   * @throws the error of the disk
   */
  async makeRoom(entries: number, bytes: number): Promise<void> {
    const surplus = this.#pending.length + entries - maxPendingEntries
    // What could not be written must not become more.
    if (this.#failed || surplus > 0 || this.#pendingBytes > maxPendingBytes)
      await this.settle(this.#pending.slice(0, Math.max(1, surplus)).at(-1)?.stored.position ?? 0)
    const needed = this.#needed(entries, bytes)
    if (this.#file.reserve.has(this.#usedBytes, needed)) return
    await this.exclusively(() => this.#file.reserve.ensure(this.#usedBytes, needed))
  }

  /** Resolves when the tables have everything up to there. @throws the error of the disk */
  async settle(upTo: number): Promise<void> {
    if (this.#settled.head >= upTo) return
    await this.exclusively(async () => {
      while (this.#settled.head < upTo) await this.#commit()
    })
  }

  /** Writes to the tables, when they have everything; `action` runs in the transaction and says which state it leaves. */
  write<T extends { readonly state: State }>(entries: number, bytes: number, action: (settled: State) => T): Promise<T> {
    return this.exclusively(async () => {
      while (this.#pending.length > 0) await this.#commit()
      await this.#file.reserve.ensure(this.#usedBytes, this.#needed(entries, bytes))
      const written = await this.#file.store.write(() => action(this.#settled))
      this.#written(written.state)
      return written
    })
  }

  /** When nobody else writes to the tables. */
  exclusively<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(action)
    this.#turn = result.catch(() => undefined)
    return result
  }

  sweepSoon(): void {
    this.#sweepDue = true
    this.#schedule()
  }

  /** A write that leaves nothing behind but room for as much. @throws the error of the disk */
  tryDisk(bytes: number): Promise<void> {
    return this.exclusively(async () => {
      await this.#file.reserve.ensure(this.#usedBytes, this.#needed(0, bytes))
      await this.#file.store.canary(bytes, this.#options.now())
      this.#usedBytes = this.#file.store.usedBytes()
    })
  }

  /** Ends what goes on by itself; resolves with whether the tables have everything. */
  async close(): Promise<boolean> {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#sweepDue = false
    // What cannot be brought to them stands in the journal; `#commit` has told.
    await this.settle(this.tail.head).catch(() => undefined)
    await this.#turn
    return this.#pending.length === 0
  }

  #schedule(): void {
    if (this.#closed || this.#running || (this.#failed && !this.#sweepDue)) return
    if (this.#sweepDue || this.#pending.length >= maxCommitEntries || this.#pendingBytes >= enoughBytes) this.#start()
    else if (this.#pending.length > 0) this.#timer ??= setTimeout(() => this.#start(), patienceMs).unref()
  }

  #start(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#running = true
    void this.exclusively(() => this.#commit())
      .catch(() => undefined)
      .then(() => {
        this.#running = false
        this.#schedule()
      })
  }

  /** The oldest that is pending, and a removal of about twice as much, so that a flood cannot outrun it. Tells what goes wrong. */
  async #commit(): Promise<void> {
    const { store, reserve } = this.#file
    const part = this.#pending.slice(0, this.#sweepDue ? maxSweepEntries : maxCommitEntries)
    const bytes = part.reduce((sum, { record }) => sum + record.length, 0)
    try {
      const removal = this.#planRemoval(Math.max(minSweep, part.length * 2))
      if (part.length === 0 && removal === undefined) return
      await reserve.ensure(this.#usedBytes, this.#needed(0, sweepReserveBytes))
      const state = stateAfter(removal?.state ?? this.#settled, part)
      await writePlaced(store, part, state, (tables) => {
        if (removal !== undefined) remove(tables, removal)
      })
      this.#pending = this.#pending.slice(part.length)
      this.#pendingBytes -= bytes
      this.#sweepFailed = false
      this.#written(state)
    } catch (error) {
      this.#sweepDue = false
      if (part.length > 0) {
        this.#failed = true
        this.#condition.commitFailed(error, bytes)
      } else if (!this.#sweepFailed) {
        this.#sweepFailed = true
        this.#options.onFailure(error)
      }
      throw error
    }
  }

  #planRemoval(limit: number): Removal | undefined {
    if (!this.#sweepDue) return undefined
    const { store } = this.#file
    const removal = planRemoval(store, this.#settled, this.#options.now(), this.#options, limit, this.#options.onFailure)
    this.#sweepDue = removal !== undefined && (removal.entries.length === limit || removal.ids.length === limit)
    return removal
  }

  /** In this turn, in which the snapshot has moved as well. */
  #written(state: State): void {
    this.#failed = false
    this.#settled = state
    this.tail.drop(state.head)
    this.#usedBytes = this.#file.store.usedBytes()
    const { retentionEvents } = this.#options
    if (state.kept > retentionEvents + Math.max(minSweep, retentionEvents >> 4)) this.#sweepDue = true
  }

  /** What all that is pending may take, with so much more. */
  #needed(entries: number, bytes: number): number {
    return commitReserveBytes + this.#pendingBytes + bytes + (this.#pending.length + entries) * entryReserveBytes
  }
}
