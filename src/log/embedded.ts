import { setImmediate } from 'node:timers/promises'
import type { Entry, Member, Membership, RevocationEntry, Stored } from '../core/entry.ts'
import type { Appended, EventLog, LogHealth, Reading } from '../core/event-log.ts'
import type { Stream } from '../core/target.ts'
import { BridgeError } from '../errors.ts'
import { prepare, type Written, writeAppends } from './append.ts'
import { AppendQueue, type Group } from './append-queue.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { LogCondition, reasonOf } from './log-condition.ts'
import { type LogFile, openLogFile } from './log-file.ts'
import { placeAppends } from './place.ts'
import { readMemberships, readRevocations, readSessionsWithMemberships, readStreams } from './reading.ts'
import { RememberedNames } from './remembered-names.ts'
import type { RetentionOptions } from './retention.ts'
import type { Runs } from './runs.ts'
import { Settler } from './settler.ts'
import type { LogShare } from './shared.ts'

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

/**
 * The log in a folder of this machine, for one process.
 *
 * One group of appends is stored at a time; what arrives meanwhile shares the next one. It is stored when it stands in the journal; `Settler` brings it to the tables,
 * behind the callers' backs. Until then it is read from the memory. The few entries that only the tables can place wait for what is before them, and are written there.
 */
export class EmbeddedLog implements EventLog {
  readonly epoch: string
  readonly secret: Uint8Array
  readonly #options: EmbeddedLogOptions
  readonly #folder: DataFolder
  readonly #file: LogFile
  readonly #names: RememberedNames
  readonly #condition: LogCondition
  readonly #settler: Settler
  readonly #queue = new AppendQueue()
  readonly #timers: readonly NodeJS.Timeout[]
  #running: Promise<void> | undefined
  #checkingSpace: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #follower: ((entries: readonly Stored[]) => void) | undefined
  #canaryDue = false
  #commits = 0
  #commitsAtCanary = 0

  /** @throws BridgeError log_in_use, log_read_only, log_foreign, log_damaged */
  static async open(options: EmbeddedLogOptions): Promise<EmbeddedLog> {
    const folder = await openDataFolder(options.directory)
    try {
      const names = await RememberedNames.open(folder.namesFiles, { synced: options.durability === 'disk', now: options.now })
      return new EmbeddedLog(options, folder, await openLogFile(folder, options.durability), names)
    } catch (error) {
      await folder.release()
      if (error instanceof BridgeError) throw error
      throw new BridgeError(
        'log_read_only',
        `the log in the data folder ${folder.path} cannot be opened (${reasonOf(error)}): check the disk and its free space`,
        { cause: error },
      )
    }
  }

  private constructor(options: EmbeddedLogOptions, folder: DataFolder, file: LogFile, names: RememberedNames) {
    this.#options = options
    this.#folder = folder
    this.#file = file
    this.#names = names
    this.epoch = file.identity.epoch
    this.secret = file.identity.secret
    this.#condition = new LogCondition(options.now, (error) => this.#report(error))
    this.#settler = new Settler(file, this.#condition, { ...options, onFailure: (error) => this.#report(error) })
    this.#timers = [
      setInterval(() => this.#settler.sweepSoon(), options.sweepMs ?? 1000).unref(),
      setInterval(() => this.#tryDisk(), options.canaryMs ?? 5000).unref(),
    ]
  }

  append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (this.#closing !== undefined) return Promise.reject(new BridgeError('log_unavailable', 'the log is closed'))
    if (entries.length === 0) return Promise.resolve([])
    if (this.#queue.isFull)
      return Promise.reject(new BridgeError('log_unavailable', 'more is published than the disk can take: too much waits to be stored'))
    return new Promise((resolve, reject) => {
      // What cannot be encoded throws here and concerns this caller alone.
      const prepared = entries.map(prepare)
      const bytes = prepared.reduce((sum, { draft }) => sum + draft.bytes.length, 0)
      this.#queue.push({ prepared, bytes, resolve, reject })
      this.#wake()
    })
  }

  follow(onEntries: (entries: readonly Stored[]) => void): void {
    if (this.#follower !== undefined) throw new BridgeError('internal', 'the log has a follower already')
    this.#follower = onEntries
  }

  head(): number {
    return this.#settler.state.head
  }

  first(): number {
    return this.#settler.state.first
  }

  read(after: number, streams: readonly Stream[], limit: number): Reading {
    return readStreams(this.#file.store, this.#settler.state, after, streams, limit, this.#settler.tail)
  }

  offsetOf(position: number): string {
    return this.#file.runs.offsetOf(position)
  }

  positionOf(offset: string): number | undefined {
    return this.#file.runs.positionOf(offset, this.head())
  }

  /** Nobody else gives out positions. */
  async catchUp(): Promise<boolean> {
    return true
  }

  memberships(member: Member): ReadonlyMap<string, Membership> {
    return readMemberships(this.#file.store, member, this.#settler.tail)
  }

  sessionsWithMemberships(): readonly string[] {
    return readSessionsWithMemberships(this.#file.store, this.#settler.tail)
  }

  revocations(after = 0): readonly Stored<RevocationEntry>[] {
    return readRevocations(this.#file.store, after)
  }

  health(): LogHealth {
    return this.#closing === undefined ? this.#condition.health() : { appendable: false, reason: 'the log is closed' }
  }

  /** See `RememberedNames`. @throws BridgeError log_unavailable */
  remember(name: string, forMs: number): Promise<boolean> {
    return this.#names.remember(name, forMs)
  }

  runs(): Runs {
    return this.#file.runs
  }

  share(): LogShare {
    const secret = Buffer.from(this.secret).toString('hex')
    return { file: this.#folder.file, epoch: this.epoch, secret, runs: this.#file.runs.share(), tail: this.#settler.tail.all() }
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
    this.#canaryDue = false
    await this.#running
    await this.#checkingSpace
    await this.#names.close()
    const settled = await this.#settler.close()
    try {
      await this.#file.close(settled)
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
      if (!this.#queue.isEmpty) await this.#storeGroup()
      else if (!this.#canaryDue) break
      if (this.#canaryDue) await this.#canary()
      // The journal may have taken the group in this very turn of the event loop. What else arrives in it shares the next group, and who appends on and on holds up nobody.
      if (this.#options.durability === 'process') await setImmediate()
    }
    this.#running = undefined
  }

  async #storeGroup(): Promise<void> {
    const group = this.#queue.take()
    const { appends, bytes } = group
    this.#condition.commitStarted()
    let written: Written
    try {
      written = (await this.#viaJournal(group)) ?? (await this.#viaTables(group))
    } catch (error) {
      this.#condition.commitFailed(error, bytes)
      for (const { reject } of appends)
        reject(new BridgeError('log_unavailable', `the log could not be written: ${reasonOf(error)}`, { cause: error }))
      return
    }
    if (written.stored.length === 0) this.#condition.commitSpared()
    else {
      this.#condition.commitSucceeded()
      this.#commits++
    }
    for (const [index, { resolve }] of appends.entries()) resolve(written.outcomes[index] ?? [])
  }

  /** Undefined: it has to go the other way. */
  async #viaJournal({ appends, entries, bytes, placeable }: Group): Promise<Written | undefined> {
    const { store, journal, runs } = this.#file
    const { now, dedupeWindowMs } = this.#options
    // A run is recorded in the tables, with its first entry.
    if (!placeable || runs.isNew(this.head())) return undefined
    await this.#settler.makeRoom(entries, bytes)
    const { state, tail } = this.#settler
    const prepared = appends.map((append) => append.prepared)
    const { placed, outcomes } = placeAppends(store, tail, state, prepared, now(), dedupeWindowMs)
    const newest = placed.at(-1)
    if (newest === undefined) return { stored: [], outcomes }
    const records = placed.map(({ record }) => record)
    const behind = journal.needs(records)
    if (behind === undefined) return undefined
    await this.#settler.settle(behind)
    await journal.write(records, newest.stored.position)
    // The head moves and its entries are handed over at once: what is done in between would be done before them and behind them.
    this.#settler.add(placed)
    return this.#handOver({ stored: placed.map(({ stored }) => stored), outcomes })
  }

  async #viaTables({ appends, entries, bytes }: Group): Promise<Written> {
    const { store, runs } = this.#file
    const { now, dedupeWindowMs } = this.#options
    const written = await this.#settler.write(entries, bytes, (settled) => {
      const prepared = appends.map((append) => append.prepared)
      const written = writeAppends(store.tables, settled, prepared, now(), dedupeWindowMs)
      if (written.stored.length > 0 && runs.isNew(settled.head)) runs.record(store.tables, settled.first)
      return written
    })
    return this.#handOver(written)
  }

  #handOver(written: Written): Written {
    try {
      if (written.stored.length > 0) this.#follower?.(written.stored)
    } catch (error) {
      // The entries are stored, whatever the follower makes of them: the publisher is told so.
      this.#report(error)
    }
    return written
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
      await this.#settler.tryDisk(bytes)
      await this.#file.journal.tryDisk()
      this.#condition.commitSucceeded()
    } catch (error) {
      this.#condition.commitFailed(error, bytes)
    }
  }
}
