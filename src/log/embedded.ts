import type { Entry, Member, Membership, RevocationEntry, Stored } from '../core/entry.ts'
import type { Appended, EventLog, LogHealth, Reading } from '../core/event-log.ts'
import type { Stream } from '../core/target.ts'
import { BridgeError } from '../errors.ts'
import { type Prepared, prepare, type Written, writeAppends } from './append.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { LogCondition, reasonOf } from './log-condition.ts'
import { type LogFile, openLogFile } from './log-file.ts'
import { readMemberships, readRevocations, readSessionsWithMemberships, readStreams } from './reading.ts'
import { planRemoval, type RetentionOptions, remove } from './retention.ts'
import type { LogShare } from './shared.ts'
import { emptyState, type State } from './state.ts'

export interface EmbeddedLogOptions extends RetentionOptions {
  /** Created when it is not there. One process at a time. */
  readonly directory: string
  /** What an accepted entry survives: the loss of power, or the end of the process only. */
  readonly durability: 'disk' | 'process'
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** What went wrong where nobody waits for an answer. */
  readonly onFailure: (error: unknown) => void
  /** How often what is too old is removed. */
  readonly sweepMs?: number
  /** How often the disk is tried while nothing is appended, or nothing can be. */
  readonly canaryMs?: number
}

interface Append {
  readonly prepared: readonly Prepared[]
  readonly bytes: number
  readonly resolve: (appended: readonly Appended[]) => void
  readonly reject: (error: unknown) => void
}

// Bounds of one commit: how long the event loop is held, and how much is lost when it fails.
const maxGroupEntries = 1024
const maxGroupBytes = 2 ** 22
// What may wait for its commit: a disk that is slower than the publishers must not fill the memory. As for the log in Redis.
const maxQueuedEntries = 65_536
const maxQueuedBytes = 2 ** 26
const minSweep = 128
// What a commit may need beyond its own bytes, for pages that it copies. Removals may use more of it: they make room.
const appendReserveBytes = 2 ** 20
const sweepReserveBytes = 2 ** 19
const entryReserveBytes = 8192

/**
 * The log in a folder of this machine, for one process.
 *
 * One commit runs at a time; what arrives meanwhile shares the next one. Small removals and the canary take turns with the commits,
 * so nothing else ever holds the lock of the writer.
 */
export class EmbeddedLog implements EventLog {
  readonly epoch: string
  readonly secret: Uint8Array
  readonly #options: EmbeddedLogOptions
  readonly #folder: DataFolder
  readonly #file: LogFile
  readonly #condition: LogCondition
  readonly #timers: readonly NodeJS.Timeout[]
  #state: State
  #queue: Append[] = []
  #queuedEntries = 0
  #queuedBytes = 0
  #running: Promise<void> | undefined
  #checkingSpace: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #follower: ((entries: readonly Stored[]) => void) | undefined
  #sweepDue = true
  #canaryDue = false
  #sweepFailed = false
  #lastGroup = 0
  #commits = 0
  #commitsAtCanary = 0

  /** @throws BridgeError log_in_use, log_read_only, log_foreign, log_damaged */
  static async open(options: EmbeddedLogOptions): Promise<EmbeddedLog> {
    const folder = await openDataFolder(options.directory)
    try {
      return new EmbeddedLog(options, folder, await openLogFile(folder, options.durability))
    } catch (error) {
      await folder.release()
      if (error instanceof BridgeError) throw error
      throw new BridgeError(
        'log_read_only',
        `the log in the data folder ${folder.path} cannot be opened (${reasonOf(error)}): check the disk and its free space`,
        {
          cause: error,
        },
      )
    }
  }

  private constructor(options: EmbeddedLogOptions, folder: DataFolder, file: LogFile) {
    this.#options = options
    this.#folder = folder
    this.#file = file
    this.epoch = file.identity.epoch
    this.secret = file.identity.secret
    this.#state = file.store.state() ?? emptyState
    this.#condition = new LogCondition(options.now, (error) => this.#report(error))
    this.#timers = [
      setInterval(() => this.#sweepSoon(), options.sweepMs ?? 1000).unref(),
      setInterval(() => this.#tryDisk(), options.canaryMs ?? 5000).unref(),
    ]
    this.#wake()
  }

  append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (this.#closing !== undefined) return Promise.reject(new BridgeError('log_unavailable', 'the log is closed'))
    if (entries.length === 0) return Promise.resolve([])
    if (this.#queuedEntries >= maxQueuedEntries || this.#queuedBytes >= maxQueuedBytes)
      return Promise.reject(new BridgeError('log_unavailable', 'more is published than the disk can take: too much waits to be stored'))
    return new Promise((resolve, reject) => {
      // What cannot be encoded throws here and concerns this caller alone.
      const prepared = entries.map(prepare)
      const bytes = prepared.reduce((sum, { draft }) => sum + (draft?.bytes.length ?? 0), 0)
      this.#queue.push({ prepared, bytes, resolve, reject })
      this.#queuedEntries += prepared.length
      this.#queuedBytes += bytes
      this.#wake()
    })
  }

  follow(onEntries: (entries: readonly Stored[]) => void): void {
    if (this.#follower !== undefined) throw new BridgeError('internal', 'the log has a follower already')
    this.#follower = onEntries
  }

  head(): number {
    return this.#state.head
  }

  first(): number {
    return this.#state.first
  }

  read(after: number, streams: readonly Stream[], limit: number): Reading {
    return readStreams(this.#file.store, this.#state, after, streams, limit)
  }

  offsetOf(position: number): string {
    return this.#file.runs.offsetOf(position)
  }

  positionOf(offset: string): number | undefined {
    return this.#file.runs.positionOf(offset, this.#state.head)
  }

  /** Nobody else gives out positions. */
  async catchUp(): Promise<boolean> {
    return true
  }

  memberships(member: Member): ReadonlyMap<string, Membership> {
    return readMemberships(this.#file.store, member)
  }

  sessionsWithMemberships(): readonly string[] {
    return readSessionsWithMemberships(this.#file.store)
  }

  revocations(after = 0): readonly Stored<RevocationEntry>[] {
    return readRevocations(this.#file.store, after)
  }

  health(): LogHealth {
    return this.#closing === undefined ? this.#condition.health() : { appendable: false, reason: 'the log is closed' }
  }

  share(): LogShare {
    return { file: this.#folder.file, epoch: this.epoch, secret: Buffer.from(this.secret).toString('hex'), runs: this.#file.runs.share() }
  }

  /** To be called when a process that has read the log is gone. */
  readerGone(): void {
    this.#file.store.forgetDeadReaders()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    this.#sweepDue = false
    this.#canaryDue = false
    await this.#running
    await this.#checkingSpace
    try {
      await this.#file.close()
    } catch (error) {
      // What was accepted with durability 'process' may not be on the disk; who closes can do nothing about it.
      this.#report(error)
    }
    await this.#folder.release()
  }

  #report(error: unknown): void {
    try {
      this.#options.onFailure(error)
    } catch {
      // An observer cannot stop the log, and nobody is left to be told.
    }
  }

  #wake(): void {
    this.#running ??= this.#run()
  }

  /** Never rejects: whoever waits is told, all else goes to `onFailure`. */
  async #run(): Promise<void> {
    // `#running` is set before anything can end the loop.
    await undefined
    for (;;) {
      this.#lastGroup = 0
      if (this.#queue.length > 0) await this.#commitGroup()
      else if (!this.#sweepDue && !this.#canaryDue) break
      if (this.#sweepDue) await this.#sweep()
      if (this.#canaryDue) await this.#canary()
    }
    this.#running = undefined
  }

  async #commitGroup(): Promise<void> {
    let group: readonly Append[] = []
    let written: Written
    this.#condition.commitStarted()
    try {
      await this.#reserve(appendReserveBytes + this.#nextBytes())
      const { store, runs } = this.#file
      written = await store.write(() => {
        // Taken when the transaction has begun: who came until now is in it.
        group = this.#takeGroup()
        const appends = group.map(({ prepared }) => prepared)
        const result = writeAppends(store.tables, this.#state, appends, this.#options.now(), this.#options.dedupeWindowMs)
        if (result.stored.length > 0 && runs.isNew(this.#state.head)) runs.record(store.tables, this.#state.first)
        return result
      })
    } catch (error) {
      // The transaction did not begin: those who were to be in it must not wait for ever.
      if (group.length === 0) group = this.#takeGroup()
      this.#condition.commitFailed(
        error,
        group.reduce((sum, { bytes }) => sum + bytes, 0),
      )
      for (const { reject } of group) reject(new BridgeError('log_unavailable', `the log could not be written: ${reasonOf(error)}`, { cause: error }))
      return
    }
    this.#condition.commitSucceeded()
    this.#commits++
    this.#state = written.state
    this.#lastGroup = written.stored.length
    if (this.#state.kept > this.#options.retentionEvents + Math.max(minSweep, this.#options.retentionEvents >> 4)) this.#sweepDue = true
    this.#handOver(written.stored)
    for (const [index, { resolve }] of group.entries()) resolve(written.outcomes[index] ?? [])
  }

  #reserve(bytes: number): Promise<void> {
    return this.#file.reserve.ensure(this.#file.store.usedBytes(), bytes)
  }

  /** What the next group may take at most, as far as it is known. */
  #nextBytes(): number {
    let total = 0
    for (const { bytes, prepared } of this.#queue) {
      const group = bytes + prepared.length * entryReserveBytes
      if (total > 0 && total + group > maxGroupBytes + maxGroupEntries * entryReserveBytes) break
      total += group
    }
    return total
  }

  #takeGroup(): readonly Append[] {
    let entries = 0
    let bytes = 0
    const end = this.#queue.findIndex((append, index) => {
      entries += append.prepared.length
      bytes += append.bytes
      return index > 0 && (entries > maxGroupEntries || bytes > maxGroupBytes)
    })
    const group = this.#queue.splice(0, end === -1 ? this.#queue.length : end)
    for (const append of group) {
      this.#queuedEntries -= append.prepared.length
      this.#queuedBytes -= append.bytes
    }
    return group
  }

  #handOver(stored: readonly Stored[]): void {
    if (this.#follower === undefined || stored.length === 0) return
    try {
      this.#follower(stored)
    } catch (error) {
      // The entries are stored, whatever the follower makes of them: the publisher is told so.
      this.#report(error)
    }
  }

  #sweepSoon(): void {
    this.#sweepDue = true
    this.#wake()
  }

  /** One small removal; twice as much as was just appended, so that a flood cannot outrun it. */
  async #sweep(): Promise<void> {
    const { store } = this.#file
    const limit = Math.max(minSweep, this.#lastGroup * 2)
    try {
      const removal = planRemoval(store, this.#state, this.#options.now(), this.#options, limit, (error) => this.#report(error))
      this.#sweepDue = removal !== undefined && (removal.entries.length === limit || removal.ids.length === limit)
      if (removal === undefined) return
      await this.#reserve(sweepReserveBytes)
      await store.write(() => remove(store.tables, removal))
      this.#state = removal.state
      this.#sweepFailed = false
    } catch (error) {
      this.#sweepDue = false
      if (!this.#sweepFailed) this.#report(error)
      this.#sweepFailed = true
    }
  }

  #tryDisk(): void {
    this.#checkingSpace ??= this.#condition.checkSpace(this.#folder.path).finally(() => {
      this.#checkingSpace = undefined
    })
    // Appends that succeed say more than a canary.
    this.#canaryDue = this.#condition.writeFailed || this.#commits === this.#commitsAtCanary
    this.#commitsAtCanary = this.#commits
    if (this.#canaryDue) this.#wake()
  }

  async #canary(): Promise<void> {
    this.#canaryDue = false
    const bytes = this.#condition.neededBytes
    this.#condition.commitStarted()
    try {
      await this.#reserve(appendReserveBytes + bytes)
      await this.#file.store.canary(bytes, this.#options.now())
      this.#condition.commitSucceeded()
    } catch (error) {
      this.#condition.commitFailed(error, bytes)
    }
  }
}
