import { open, type RootDatabase, type Transaction } from 'lmdb'
import { BridgeError, toBridgeError } from '../errors.ts'
import { positionKey } from './keys.ts'
import { RecentEntries } from './recent-entries.ts'
import { RecentPositions } from './recent-positions.ts'
import { decodeState, type State } from './state.ts'

interface Range {
  readonly start?: Buffer
  readonly end?: Buffer
  readonly limit?: number
  readonly transaction?: Transaction
}

/** What the log uses of a table of LMDB. Writes are made in a transaction only, and there they are done when the call returns. */
export interface Table {
  get(key: Buffer, options?: { readonly transaction?: Transaction }): Buffer | undefined
  getKeys(range: Range): Iterable<Buffer>
  getRange(range: Range): Iterable<{ readonly key: Buffer; readonly value: Buffer }>
  put(key: Buffer, value: Buffer): unknown
  /** With `append` as `Append`; false when the key is not after the others. */
  putSync(key: Buffer, value: Buffer, options: { readonly append: true }): unknown
  remove(key: Buffer): void
}

/** A row whose key is after all others: pages are filled instead of split in halves. */
export type Append = (table: Table, key: Buffer, value: Buffer) => void

/** The tables of the log. What is written in one `write` is there as a whole or not at all. */
export interface Tables {
  /** One row each: what the file is, and the state. */
  readonly meta: Table
  /** Position -> record. */
  readonly entries: Table
  /** Stream and position -> nothing. */
  readonly streams: Table
  /** Id -> position, time and digest of the event that had it first. */
  readonly ids: Table
  /** Position -> time and key in `ids`: the order in which ids leave the window. */
  readonly idOrder: Table
  /** Member and room -> membership. */
  readonly members: Table
  /** First position -> id of the run that gave it out. */
  readonly runs: Table
  /** Id of a revocation -> its entry, as a record. */
  readonly revocations: Table
}

export const stateKey = Buffer.from('state')
export const formatKey = Buffer.from('format')
const canaryKey = Buffer.from('canary')
// One for each snapshot of each process: what the lock file, which gets its blocks before, has room for.
const maxReaders = 240
// Address space, not memory or disk; beyond it LMDB maps anew.
const mapBytes = 2 ** 36
const tableOptions = { encoding: 'binary', keyEncoding: 'binary' } as const

/** LMDB, with the promises that the log needs from it. */
export class Store {
  readonly tables: Tables
  /** Of the table of entries. */
  readonly recent = new RecentEntries()
  /** Of the table of streams, as it is in the snapshot. */
  readonly positions = new RecentPositions()
  readonly #root: RootDatabase<Buffer, Buffer>
  #snapshot: Transaction
  /** Absent: not looked up in this snapshot. */
  #hasMembers: boolean | undefined
  #fatal: Error | undefined

  /** The file must have been checked: LMDB ends the process by a signal when it is wrong. `readOnly`: another process has checked it and writes to it. */
  constructor(file: string, synced: boolean, { readOnly = false } = {}) {
    this.#root = open<Buffer, Buffer>({
      path: file,
      noSubdir: true,
      mapSize: mapBytes,
      maxDbs: 9,
      maxReaders,
      readOnly,
      // Plain LMDB commits: pages, fdatasync, then the meta page through an O_DSYNC descriptor, then visible. So a promise that
      // resolves means "on the disk", and a failed sync leaves nothing that readers could see.
      overlappingSync: false,
      noSync: !synced,
      // The other way of batching makes a second promise per commit that nobody holds: an unhandled rejection when the disk is full.
      eventTurnBatching: false,
      ...tableOptions,
    })
    const table = (name: string): Table => this.#root.openDB<Buffer, Buffer>({ name, ...tableOptions })
    this.tables = {
      meta: table('meta'),
      entries: table('entries'),
      streams: table('streams'),
      ids: table('ids'),
      idOrder: table('id-order'),
      members: table('members'),
      runs: table('runs'),
      revocations: table('revocations'),
    }
    this.#snapshot = this.#root.useReadTransaction()
  }

  /** What every read goes through: the state after the last `write` that has resolved, never one that is half-way. */
  get snapshot(): Transaction {
    return this.#snapshot
  }

  /** Whether there is any membership at all. */
  get hasMembers(): boolean {
    this.#hasMembers ??= [...this.tables.members.getKeys({ limit: 1, transaction: this.#snapshot })].length > 0
    return this.#hasMembers
  }

  state(): State | undefined {
    const bytes = this.tables.meta.get(stateKey, { transaction: this.#snapshot })
    return bytes && decodeState(bytes)
  }

  /** Up to the end of the last page that was ever used. */
  usedBytes(): number {
    const stats: { readonly lastPageNumber?: number; readonly root?: { readonly pageSize: number } } = this.#root.getStats()
    return ((stats.lastPageNumber ?? 0) + 1) * (stats.root?.pageSize ?? 4096)
  }

  /**
   * Runs `action` in one transaction; resolves when it is on the disk and `snapshot` shows it. One at a time.
   * @throws what `action` or the disk threw; nothing was written then.
   */
  async write<T>(action: () => T): Promise<T> {
    if (this.#fatal !== undefined) throw this.#fatal
    try {
      // A child transaction, because LMDB commits the other kind also when the action throws half-way.
      const result = await this.#root.childTransaction(action)
      this.renew()
      return result
    } catch (error) {
      const cause = await causeOf(error)
      this.#probe()
      throw cause
    }
  }

  /**
   * As `write`, but LMDB's own thread does what `action` asks for, so that the event loop is free meanwhile: `action` sees nothing of what it writes.
   * `from`: the position from which on it appends.
   */
  async writeBehind(from: number | undefined, action: (append: Append) => void): Promise<void> {
    if (this.#fatal !== undefined) throw this.#fatal
    // Looked at once: LMDB's own check is a promise for each row.
    if (from !== undefined && this.#reaches(from)) {
      this.#fatal = beyondHead()
      throw this.#fatal
    }
    try {
      await this.#root.batch(() => action(putBehind))
      this.renew()
    } catch (error) {
      const cause = await causeOf(error)
      this.#probe()
      throw cause
    }
  }

  /** A write of this size that leaves nothing behind but room for as much. */
  async canary(bytes: number, time: number): Promise<void> {
    const value = Buffer.alloc(Math.max(16, bytes))
    value.writeDoubleBE(time)
    await this.write(() => this.tables.meta.put(canaryKey, value))
    if (bytes > 16) await this.write(() => this.tables.meta.put(canaryKey, value.subarray(0, 16)))
  }

  /** For a store that is not synced: everything so far is on the disk afterwards. */
  async sync(): Promise<void> {
    // Missing in the types of lmdb.
    const root: RootDatabase<Buffer, Buffer> & { sync?(done: (error: unknown) => void): void } = this.#root
    await new Promise<void>((resolve, reject) => {
      if (root.sync === undefined) reject(new BridgeError('internal', 'this version of lmdb cannot sync'))
      else root.sync((error) => (error ? reject(toBridgeError(error)) : resolve()))
    })
  }

  async close(): Promise<void> {
    this.recent.clear()
    this.#snapshot.done()
    await this.#root.close()
  }

  /** Lets go of what processes that were killed have read: their pages could not be used again. */
  forgetDeadReaders(): void {
    this.#root.readerCheck()
  }

  /** Moves the snapshot to the newest state. */
  renew(): void {
    this.positions.clear()
    this.#hasMembers = undefined
    const old = this.#snapshot
    this.#root.resetReadTxn()
    this.#snapshot = this.#root.useReadTransaction()
    old.done()
  }

  /** Whether something stands there or behind it. */
  #reaches(position: number): boolean {
    const range = { start: positionKey(position), limit: 1, transaction: this.#snapshot }
    return [this.tables.entries, this.tables.idOrder].some((table) => [...table.getKeys(range)].length > 0)
  }

  /**
   * After a failed write of the meta page LMDB refuses to write until the file is opened anew, and its writer thread would then wait
   * for ever. A synchronous transaction that does nothing tells, without touching the disk.
   */
  #probe(): void {
    try {
      this.#root.transactionSync(() => undefined)
    } catch (error) {
      this.#fatal = new Error('the log file cannot be written to any more: check the disk, then restart', { cause: error })
    }
  }
}

// LMDB fills the pages of what is put behind all others, whether it knows or not.
const putBehind: Append = (table, key, value) => table.put(key, value)

/** Nothing is overwritten: an entry at this position means that the head is wrong. */
export function beyondHead(): BridgeError {
  return new BridgeError('log_damaged', 'the log has entries beyond its head')
}

/** A failed commit rejects with a promise of its reason, which would be an unhandled rejection when nobody looks at it. */
async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error
  try {
    await error.commitError
    return error
  } catch (cause) {
    return cause
  }
}
