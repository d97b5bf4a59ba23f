import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { entryStreams, type Member, type Membership, type RevocationEntry, type Stored, toMembership } from '../../core/entry.ts'
import type { Reading } from '../../core/event-log.ts'
import type { Stream } from '../../core/target.ts'
import { BridgeError } from '../../errors.ts'
import { writeRecord } from '../append.ts'
import { membershipKey, membershipRange } from '../keys.ts'
import { reasonOf } from '../log-condition.ts'
import { readMembership, writeMembership } from '../membership-row.ts'
import { readMemberships, readRevocations, readSessionsWithMemberships, readStreams, readUserMemberships } from '../reading.ts'
import { decodeRecord, draftOf, draftRecord } from '../record.ts'
import { Reserve } from '../reserve.ts'
import { planRemoval, type RetentionOptions, remove } from '../retention.ts'
import { writeRevocation } from '../revocation-row.ts'
import { encodeState, type State } from '../state.ts'
import { Store, stateKey, type Tables } from '../store.ts'
import { windowName } from './window-folder.ts'
import type { Followed } from './wire.ts'

// More than the readers of one process take.
const lockFileBytes = 16_384
// What a write may need beyond its own bytes, for pages that it copies and rows of the index.
const reserveBytes = 2 ** 20
const entryReserveBytes = 8192
const minSweep = 128
// Entries of one transaction.
const maxFill = 1024

export interface FillOptions {
  /** Told what the window shows from this turn on, as it came to be: several times, when there is much. */
  readonly onFilled?: (filled: readonly Stored[]) => void
  /** What memberships and revocations were told by entries up to there is known already. */
  readonly statesAfter?: number
}

/**
 * What is kept of the stream, on this machine, so that it is read in the turn in which it is asked for. Nothing here is worth keeping: it is made anew at
 * each start, and nobody finds its file.
 */
export class Window {
  readonly #store: Store
  readonly #reserve: Reserve
  readonly #options: RetentionOptions
  readonly #folder: string
  readonly #file: string
  #state: State
  #lasting: number
  /** One write at a time. */
  #writing: Promise<unknown> = Promise.resolve()

  /** `directory` is created when it is not there. @throws BridgeError log_read_only */
  static async open(directory: string, state: State, options: RetentionOptions & { readonly shared?: boolean }): Promise<Window> {
    try {
      await mkdir(directory, { recursive: true })
      const folder = await mkdtemp(join(directory, windowName))
      const file = join(folder, 'window.mdb')
      // Blocks for the lock file, which LMDB would map as a hole: writing there on a full disk ends the process by a signal.
      await writeFile(`${file}-lock`, Buffer.alloc(lockFileBytes))
      const store = new Store(file, false)
      const window = new Window(store, await Reserve.open(file), folder, file, state, options)
      await window.#write(reserveBytes, () => store.tables.meta.put(stateKey, encodeState(state)))
      // Without a name it goes with the process, however that ends. Where this cannot be, `close` removes it. Others can open only what has a name.
      if (!options.shared) await rm(folder, { recursive: true, force: true }).catch(() => undefined)
      return window
    } catch (error) {
      throw new BridgeError(
        'log_read_only',
        `the data folder ${directory} cannot hold what is kept of the log (${reasonOf(error)}): give the user that runs Sidecast read and write access on a local disk with free space`,
        { cause: error },
      )
    }
  }

  private constructor(store: Store, reserve: Reserve, folder: string, file: string, state: State, options: RetentionOptions) {
    this.#store = store
    this.#reserve = reserve
    this.#folder = folder
    this.#file = file
    this.#state = state
    this.#lasting = state.head
    this.#options = options
  }

  get state(): State {
    return this.#state
  }

  /** Up to where what is not volatile is here, as far as it is kept. */
  get lasting(): number {
    return this.#lasting
  }

  get file(): string {
    return this.#file
  }

  readerGone(): void {
    this.#store.forgetDeadReaders()
  }

  /** Takes over the last words about members and rooms, as they were at some moment after the beginning of what `fill` brings. */
  async fillMemberships(rows: readonly { readonly key: Buffer; readonly membership: Membership }[]): Promise<void> {
    await this.#write(reserveBytes + rows.length * entryReserveBytes, () => {
      for (const { key, membership } of rows) writeMembership(this.#store.tables, key, membership)
    })
  }

  async fillRevocations(revocations: readonly Stored[]): Promise<void> {
    await this.#write(reserveBytes + revocations.length * entryReserveBytes, () => {
      for (const stored of revocations) applyState(this.#store.tables, stored)
    })
  }

  /** Resolves when the window shows all of them. */
  async fill(entries: readonly Followed[], { onFilled, statesAfter = 0 }: FillOptions = {}): Promise<void> {
    for (let from = 0; from < entries.length; from += maxFill) {
      const filled = await this.#fillSome(entries.slice(from, from + maxFill), statesAfter)
      onFilled?.(filled)
    }
  }

  async #fillSome(entries: readonly Followed[], statesAfter: number): Promise<readonly Stored[]> {
    const bytes = entries.reduce((sum, { body }) => sum + body.length + entryReserveBytes, reserveBytes)
    return this.#exclusively(async () => {
      await this.#reserve.ensure(this.#store.usedBytes(), bytes)
      const { state, filled } = await this.#store.write(() => writeEntries(this.#store.tables, this.#state, entries, statesAfter))
      this.#state = state
      this.#lasting = filled.findLast(({ entry }) => !(entry.kind === 'event' && entry.volatile))?.position ?? this.#lasting
      return filled
    })
  }

  /** Nothing stands between the newest entry and this position. */
  async moveHead(position: number, lasting: number): Promise<void> {
    this.#lasting = Math.max(this.#lasting, lasting)
    if (position <= this.#state.head) return
    const state = { ...this.#state, head: position }
    await this.#write(reserveBytes, () => this.#store.tables.meta.put(stateKey, encodeState(state)))
    this.#state = state
  }

  /** Removes what is too old or too much; resolves with the position of the first entry that is kept. */
  async sweep(now: number, onDamaged: (error: unknown) => void, keepFrom = 0): Promise<number> {
    for (;;) {
      const limit = minSweep * 4
      const done = await this.#exclusively(async () => {
        const removal = planRemoval(this.#store, this.#state, now, this.#options, limit, onDamaged, keepFrom)
        if (removal === undefined) return true
        await this.#reserve.ensure(this.#store.usedBytes(), reserveBytes)
        await this.#store.write(() => remove(this.#store.tables, removal))
        this.#state = removal.state
        return removal.entries.length < limit
      })
      if (!done) continue
      if (keepFrom > this.#state.first) {
        const state = { ...this.#state, first: keepFrom }
        await this.#write(reserveBytes, () => this.#store.tables.meta.put(stateKey, encodeState(state)))
        this.#state = state
      }
      return this.#state.first
    }
  }

  get surplus(): boolean {
    return this.#state.kept > this.#options.retentionEvents + Math.max(minSweep, this.#options.retentionEvents >> 4)
  }

  read(after: number, streams: readonly Stream[], limit: number): Reading {
    return readStreams(this.#store, this.#state, after, streams, limit)
  }

  memberships(member: Member): ReadonlyMap<string, Membership> {
    return readMemberships(this.#store, member)
  }

  userMemberships(): Iterable<{ readonly user: string; readonly room: string; readonly membership: Membership }> {
    return readUserMemberships(this.#store)
  }

  sessionsWithMemberships(): readonly string[] {
    return readSessionsWithMemberships(this.#store)
  }

  revocations(after = 0): readonly Stored<RevocationEntry>[] {
    return readRevocations(this.#store, after)
  }

  async close(): Promise<void> {
    await this.#writing
    await this.#reserve.close()
    await this.#store.close()
    await rm(this.#folder, { recursive: true, force: true })
  }

  #write(bytes: number, action: () => void): Promise<void> {
    return this.#exclusively(async () => {
      await this.#reserve.ensure(this.#store.usedBytes(), bytes)
      await this.#store.write(action)
    })
  }

  #exclusively<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#writing.then(action)
    this.#writing = result.catch(() => undefined)
    return result
  }
}

function writeEntries(
  tables: Tables,
  before: State,
  entries: readonly Followed[],
  statesAfter: number,
): { readonly state: State; readonly filled: readonly Stored[] } {
  let { head, time, kept } = before
  const filled: Stored[] = []
  for (const { stored, body } of entries) {
    const { entry, was, position } = stored
    filled.push(position > statesAfter ? applyState(tables, stored) : stored)
    const streams = [...new Set(entryStreams(entry))]
    if (streams.length > 0) {
      writeRecord(tables, was === undefined ? draftOf(body) : draftRecord(entry, was), streams, position, stored.time)
      kept++
    }
    head = position
    time = stored.time
  }
  const state = { ...before, head, time, kept }
  tables.meta.put(stateKey, encodeState(state))
  return { state, filled }
}

/** What an entry says about memberships and revocations, unless something newer is known; the entry as it came to be. */
function applyState(tables: Tables, stored: Stored): Stored {
  const { position, time, entry } = stored
  switch (entry.kind) {
    case 'membership': {
      const key = membershipKey(entry.member, entry.room)
      if ((readMembership(tables, key)?.position ?? 0) < position) writeMembership(tables, key, toMembership(entry, position, time))
      return stored
    }
    case 'session-ended':
      for (const key of [...tables.members.getKeys(membershipRange(entry))]) {
        if ((readMembership(tables, key)?.position ?? 0) < position) tables.members.remove(key)
      }
      return stored
    case 'revocation':
      return revokedAt(tables, entry.revocation.id) < position ? { ...stored, entry: writeRevocation(tables, entry, position, time) } : stored
    case 'revocation-lifted':
      if (revokedAt(tables, entry.id) < position) writeRevocation(tables, entry, position, time)
      return stored
    case 'event':
    case 'disconnect':
      return stored
    default:
      return entry satisfies never
  }
}

function revokedAt(tables: Tables, id: string): number {
  const row = tables.revocations.get(Buffer.from(id))
  return row === undefined ? 0 : decodeRecord(row).position
}
