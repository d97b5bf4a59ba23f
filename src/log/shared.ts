import type { Entry, Member, Membership, RevocationEntry, Stored } from '../core/entry.ts'
import type { Appended, EventLog, LogHealth, Reading } from '../core/event-log.ts'
import type { Stream } from '../core/target.ts'
import { BridgeError } from '../errors.ts'
import { readMemberships, readRevocations, readSessionsWithMemberships, readStreams } from './reading.ts'
import { Runs, type SharedRun } from './runs.ts'
import { emptyState, type State } from './state.ts'
import { Store } from './store.ts'
import { Tail } from './tail.ts'

/** What another process has to know of an open log to read it. */
export interface LogShare {
  /** Absolute. */
  readonly file: string
  readonly epoch: string
  /** Hex. */
  readonly secret: string
  readonly runs: readonly SharedRun[]
  /** What the file does not have yet; what follows is told by `LogLink`. */
  readonly tail: readonly Stored[]
}

/** The line to the process that writes. Nothing here may throw. */
export interface LogLink {
  /** As `EventLog.append`: the entries come back by `follow` before it resolves. */
  append(entries: readonly Entry[]): Promise<readonly Appended[]>
  /** Every entry behind the tail, in order. */
  follow(onEntries: (entries: readonly Stored[]) => void): void
  /** As `EventLog.catchUp`; when it resolves, what the writer has found can be read from the file. */
  catchUp(offset: string): Promise<boolean>
}

/**
 * A log that another process of this machine has open and writes: read from the same file, appended to through that process.
 *
 * The snapshot moves when entries arrive and by `renew`, never within a turn. It may be ahead of what has arrived: whoever joins at the head skips it then.
 */
export class SharedLog implements EventLog {
  readonly epoch: string
  readonly secret: Uint8Array
  readonly #store: Store
  #runs: Runs
  readonly #link: LogLink
  /** What was told and does not stand in the snapshot. */
  readonly #tail = new Tail()
  #state: State
  #closed = false

  constructor({ file, epoch, secret, runs, tail }: LogShare, link: LogLink) {
    this.epoch = epoch
    this.secret = Buffer.from(secret, 'hex')
    this.#runs = Runs.of(epoch, runs)
    this.#store = new Store(file, true, { readOnly: true })
    this.#state = this.#store.state() ?? emptyState
    this.#take(tail)
    this.#link = link
  }

  append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (this.#closed) return Promise.reject(new BridgeError('log_unavailable', 'the log is closed'))
    return this.#link.append(entries)
  }

  follow(onEntries: (entries: readonly Stored[]) => void): void {
    // What was under way when the file was opened stands in it already.
    const from = this.head()
    this.#link.follow((entries) => {
      if (this.#closed) return
      this.renew()
      this.#take(entries)
      const news = entries.filter(({ position }) => position > from)
      if (news.length > 0) onEntries(news)
    })
  }

  /** Moves to the newest state, so that the writer can use old pages again. To be called now and then when nothing arrives. */
  renew(): void {
    if (this.#closed) return
    this.#store.renew()
    this.#state = this.#store.state() ?? emptyState
    this.#tail.drop(this.#state.head)
  }

  /** What gives out positions has begun another run. */
  takeRuns(runs: readonly SharedRun[]): void {
    this.#runs = Runs.of(this.epoch, runs)
  }

  head(): number {
    return Math.max(this.#state.head, this.#tail.head)
  }

  first(): number {
    return this.#state.first
  }

  offsetOf(position: number): string {
    return this.#runs.offsetOf(position)
  }

  positionOf(offset: string): number | undefined {
    return this.#runs.positionOf(offset, this.head())
  }

  async catchUp(offset: string): Promise<boolean> {
    if (this.positionOf(offset) !== undefined) return true
    const caughtUp = await this.#link.catchUp(offset)
    this.renew()
    return caughtUp
  }

  read(after: number, streams: readonly Stream[], limit: number): Reading {
    return readStreams(this.#store, { ...this.#state, head: this.head() }, after, streams, limit, this.#tail)
  }

  memberships(member: Member): ReadonlyMap<string, Membership> {
    return readMemberships(this.#store, member, this.#tail)
  }

  sessionsWithMemberships(): readonly string[] {
    return readSessionsWithMemberships(this.#store, this.#tail)
  }

  revocations(after = 0): readonly Stored<RevocationEntry>[] {
    return readRevocations(this.#store, after)
  }

  /** The process that writes knows. */
  health(): LogHealth {
    return this.#closed ? { appendable: false, reason: 'the log is closed' } : { appendable: true }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#store.close()
  }

  #take(entries: readonly Stored[]): void {
    for (const stored of entries) if (stored.position > this.#state.head) this.#tail.add(stored)
  }
}
