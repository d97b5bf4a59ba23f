import type { Entry, Member, Membership, RevocationEntry, Stored } from '../core/entry.ts'
import type { Appended, EventLog, LogHealth, Reading } from '../core/event-log.ts'
import type { Stream } from '../core/target.ts'
import { BridgeError } from '../errors.ts'
import { readMemberships, readRevocations, readSessionsWithMemberships, readStreams } from './reading.ts'
import { Runs, type SharedRun } from './runs.ts'
import { emptyState, type State } from './state.ts'
import { Store } from './store.ts'

/** What another process has to know of an open log to read it. */
export interface LogShare {
  /** Absolute. */
  readonly file: string
  readonly epoch: string
  /** Hex. */
  readonly secret: string
  readonly runs: readonly SharedRun[]
}

/** The line to the process that writes. Nothing here may throw. */
export interface LogLink {
  /** As `EventLog.append`: the entries come back by `follow` before it resolves. */
  append(entries: readonly Entry[]): Promise<readonly Appended[]>
  /** Every entry, in order, when it can be read from the file. */
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
  #state: State
  #closed = false

  constructor({ file, epoch, secret, runs }: LogShare, link: LogLink) {
    this.epoch = epoch
    this.secret = Buffer.from(secret, 'hex')
    this.#runs = Runs.of(epoch, runs)
    this.#store = new Store(file, true, { readOnly: true })
    this.#state = this.#store.state() ?? emptyState
    this.#link = link
  }

  append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (this.#closed) return Promise.reject(new BridgeError('log_unavailable', 'the log is closed'))
    return this.#link.append(entries)
  }

  follow(onEntries: (entries: readonly Stored[]) => void): void {
    // What was under way when the file was opened stands in it already.
    const from = this.#state.head
    this.#link.follow((entries) => {
      if (this.#closed) return
      this.renew()
      const news = entries.filter(({ position }) => position > from)
      if (news.length > 0) onEntries(news)
    })
  }

  /** Moves to the newest state, so that the writer can use old pages again. To be called now and then when nothing arrives. */
  renew(): void {
    if (this.#closed) return
    this.#store.renew()
    this.#state = this.#store.state() ?? emptyState
  }

  /** What gives out positions has begun another run. */
  takeRuns(runs: readonly SharedRun[]): void {
    this.#runs = Runs.of(this.epoch, runs)
  }

  head(): number {
    return this.#state.head
  }

  first(): number {
    return this.#state.first
  }

  offsetOf(position: number): string {
    return this.#runs.offsetOf(position)
  }

  positionOf(offset: string): number | undefined {
    return this.#runs.positionOf(offset, this.#state.head)
  }

  async catchUp(offset: string): Promise<boolean> {
    if (this.positionOf(offset) !== undefined) return true
    const caughtUp = await this.#link.catchUp(offset)
    this.renew()
    return caughtUp
  }

  read(after: number, streams: readonly Stream[], limit: number): Reading {
    return readStreams(this.#store, this.#state, after, streams, limit)
  }

  memberships(member: Member): ReadonlyMap<string, Membership> {
    return readMemberships(this.#store, member)
  }

  sessionsWithMemberships(): readonly string[] {
    return readSessionsWithMemberships(this.#store)
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
}
