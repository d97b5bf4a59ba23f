import type { Entry, EventEntry, Member, Stored } from '../core/entry.ts'
import { entryStreams, toMembership } from '../core/entry.ts'
import type { Appended } from '../core/event-log.ts'
import type { Stream } from '../core/target.ts'
import { checkStream, dedupeKey, indexKey, membershipKey, membershipRange, positionKey } from './keys.ts'
import type { KnownId } from './latest.ts'
import { writeMembership } from './membership-row.ts'
import { type Draft, draftRecord, sealRecord } from './record.ts'
import { writeRevocation } from './revocation-row.ts'
import { encodeState, type State } from './state.ts'
import { type Append, beyondHead, stateKey, type Table, type Tables } from './store.ts'

/** An entry with everything that can be computed before the transaction. */
export interface Prepared {
  readonly entry: Entry
  /** A membership's is made anew when it replaces one. */
  readonly draft: Draft
  /** None for what cannot be read again. */
  readonly streams: readonly Stream[]
  readonly idKey: Buffer | undefined
  readonly memberKey: Buffer | undefined
}

export interface Written {
  readonly stored: readonly Stored[]
  readonly outcomes: readonly (readonly Appended[])[]
}

const nothing = Buffer.alloc(0)

/** @throws BridgeError invalid_event: a name is longer than a key of the log can be. */
export function prepare(entry: Entry): Prepared {
  const streams = entryStreams(entry)
  for (const stream of streams) checkStream(stream)
  return {
    entry,
    streams,
    draft: draftRecord(entry),
    idKey: entry.kind === 'event' && entry.digest !== undefined ? dedupeKey(entry.id) : undefined,
    memberKey: entry.kind === 'membership' ? membershipKey(entry.member, entry.room) : undefined,
  }
}

/** Writes what several callers append. Runs inside a transaction: it sees what it wrote, so repeated ids of one group are found too. */
export function writeAppends(
  tables: Tables,
  before: State,
  appends: readonly (readonly Prepared[])[],
  now: number,
  dedupeWindowMs: number,
): Written & { readonly state: State } {
  // One time for the group, and never one before that of an older entry, whatever the clock does.
  const time = Math.max(now, before.time)
  let { head, kept } = before
  const stored: Stored[] = []
  const outcomes = appends.map((append) =>
    append.map((prepared): Appended => {
      const known = findId(tables, prepared, time, dedupeWindowMs)
      if (known !== undefined) return known
      head++
      if (prepared.streams.length > 0) kept++
      stored.push(writeEntry(tables, prepared, head, time))
      return { outcome: 'stored', position: head, time }
    }),
  )
  // A group of nothing but duplicates changes nothing.
  const state = stored.length === 0 ? before : { ...before, head, kept, time }
  if (state !== before) tables.meta.put(stateKey, encodeState(state))
  return { state, stored, outcomes }
}

function findId(tables: Tables, { entry, idKey }: Prepared, time: number, windowMs: number): Appended | undefined {
  return idKey === undefined || entry.kind !== 'event' ? undefined : toKnown(entry, readId(tables, idKey), time, windowMs)
}

/** What becomes of an event whose id is known. */
export function toKnown({ digest }: EventEntry, known: KnownId | undefined, time: number, windowMs: number): Appended | undefined {
  // Judged by the time in the row: the row may outlive the window a little, until it is pruned.
  if (known === undefined || time - known.time >= windowMs) return undefined
  return { outcome: known.digest === digest ? 'duplicate' : 'conflict', position: known.position, time: known.time }
}

export function readId(tables: Tables, idKey: Buffer, options?: Parameters<Table['get']>[1]): KnownId | undefined {
  const row = tables.ids.get(idKey, options)
  return row && { position: row.readDoubleBE(0), time: row.readDoubleBE(8), digest: row.toString('utf8', 16) }
}

function writeEntry(tables: Tables, prepared: Prepared, position: number, time: number): Stored {
  const { idKey, memberKey, draft, streams } = prepared
  const entry = writeRevocation(tables, prepared.entry, position, time)
  if (idKey !== undefined && entry.kind === 'event') writeId(tables, appendSync, idKey, entry.digest ?? '', position, time)
  const was =
    entry.kind === 'membership' && memberKey !== undefined ? writeMembership(tables, memberKey, toMembership(entry, position, time)) : undefined
  if (entry.kind === 'session-ended') forgetMemberships(tables, entry)
  if (streams.length > 0) writeRecord(tables, was === undefined ? draft : draftRecord(entry, was), streams, position, time)
  return { position, time, entry, ...(was && { was }) }
}

/** An entry that can be read again, at its place, with the rows by which its streams find it. */
export function writeRecord(tables: Tables, draft: Draft, streams: readonly Stream[], position: number, time: number): void {
  writeSealed(tables, appendSync, sealRecord(draft, position, time), streams, position)
}

/** `record`: with its place. */
export function writeSealed(tables: Tables, append: Append, record: Buffer, streams: readonly Stream[], position: number): void {
  append(tables.entries, positionKey(position), record)
  for (const stream of streams) tables.streams.put(indexKey(stream, position), nothing)
}

export function writeId(tables: Tables, append: Append, idKey: Buffer, digest: string, position: number, time: number): void {
  const row = Buffer.allocUnsafe(16 + Buffer.byteLength(digest))
  row.writeDoubleBE(position, 0)
  row.writeDoubleBE(time, 8)
  row.write(digest, 16)
  tables.ids.put(idKey, row)
  const order = Buffer.allocUnsafe(8 + idKey.length)
  order.writeDoubleBE(time, 0)
  idKey.copy(order, 8)
  append(tables.idOrder, positionKey(position), order)
}

function appendSync(table: Table, key: Buffer, value: Buffer): void {
  if (table.putSync(key, value, { append: true }) === false) throw beyondHead()
}

function forgetMemberships(tables: Tables, member: Member): void {
  for (const key of [...tables.members.getKeys(membershipRange(member))]) tables.members.remove(key)
}
