import type { Entry, Member, Stored } from '../core/entry.ts'
import { entryStreams, toMembership } from '../core/entry.ts'
import type { Appended } from '../core/event-log.ts'
import { BridgeError } from '../errors.ts'
import { dedupeKey, indexKey, membershipKey, membershipRange, placeIndexKey, positionKey } from './keys.ts'
import { writeMembership } from './membership-row.ts'
import { type Draft, draftRecord, sealRecord } from './record.ts'
import { writeRevocation } from './revocation-row.ts'
import { encodeState, type State } from './state.ts'
import { stateKey, type Table, type Tables } from './store.ts'

/** An entry with everything that can be computed before the transaction. */
export interface Prepared {
  readonly entry: Entry
  /** Absent for what cannot be read again. A membership's is made anew when it replaces one. */
  readonly draft: Draft | undefined
  readonly indexKeys: readonly Buffer[]
  readonly idKey: Buffer | undefined
  readonly memberKey: Buffer | undefined
}

export interface Written {
  readonly state: State
  readonly stored: readonly Stored[]
  readonly outcomes: readonly (readonly Appended[])[]
}

const nothing = Buffer.alloc(0)

/** @throws BridgeError invalid_event: a name is longer than a key of the log can be. */
export function prepare(entry: Entry): Prepared {
  const indexKeys = [...new Set(entryStreams(entry))].map((stream) => indexKey(stream))
  return {
    entry,
    draft: indexKeys.length === 0 ? undefined : draftRecord(entry),
    indexKeys,
    idKey: entry.kind === 'event' && entry.digest !== undefined ? dedupeKey(entry.id) : undefined,
    memberKey: entry.kind === 'membership' ? membershipKey(entry.member, entry.room) : undefined,
  }
}

/** Writes what several callers append. Runs inside a transaction: it sees what it wrote, so repeated ids of one group are found too. */
export function writeAppends(tables: Tables, before: State, appends: readonly (readonly Prepared[])[], now: number, dedupeWindowMs: number): Written {
  // One time for the group, and never one before that of an older entry, whatever the clock does.
  const time = Math.max(now, before.time)
  let { head, kept } = before
  const stored: Stored[] = []
  const outcomes = appends.map((append) =>
    append.map((prepared): Appended => {
      const known = findId(tables, prepared, time, dedupeWindowMs)
      if (known !== undefined) return known
      head++
      if (prepared.draft !== undefined) kept++
      stored.push(writeEntry(tables, prepared, prepared.draft, head, time))
      return { outcome: 'stored', position: head, time }
    }),
  )
  // A group of nothing but duplicates changes nothing.
  const state = stored.length === 0 ? before : { ...before, head, kept, time }
  if (state !== before) tables.meta.put(stateKey, encodeState(state))
  return { state, stored, outcomes }
}

function findId(tables: Tables, { entry, idKey }: Prepared, time: number, windowMs: number): Appended | undefined {
  if (idKey === undefined || entry.kind !== 'event') return undefined
  const row = tables.ids.get(idKey)
  // Judged by the time in the row: the row may outlive the window a little, until it is pruned.
  if (row === undefined || time - row.readDoubleBE(8) >= windowMs) return undefined
  const outcome = row.toString('utf8', 16) === entry.digest ? 'duplicate' : 'conflict'
  return { outcome, position: row.readDoubleBE(0), time: row.readDoubleBE(8) }
}

function writeEntry(tables: Tables, prepared: Prepared, draft: Draft | undefined, position: number, time: number): Stored {
  const { idKey, memberKey } = prepared
  const entry = writeRevocation(tables, prepared.entry, position, time)
  const key = positionKey(position)
  if (idKey !== undefined && entry.kind === 'event') writeId(tables, idKey, entry.digest ?? '', key, position, time)
  const was =
    entry.kind === 'membership' && memberKey !== undefined ? writeMembership(tables, memberKey, toMembership(entry, position, time)) : undefined
  if (entry.kind === 'session-ended') forgetMemberships(tables, entry)
  if (draft !== undefined) writeRecord(tables, was === undefined ? draft : draftRecord(entry, was), prepared.indexKeys, position, time)
  return { position, time, entry, ...(was && { was }) }
}

/** An entry that can be read again, at its place, with the rows by which its streams find it. */
export function writeRecord(tables: Tables, draft: Draft, indexKeys: readonly Buffer[], position: number, time: number): void {
  append(tables.entries, positionKey(position), sealRecord(draft, position, time))
  for (const indexKey of indexKeys) tables.streams.put(placeIndexKey(indexKey, position), nothing)
}

function writeId(tables: Tables, idKey: Buffer, digest: string, key: Buffer, position: number, time: number): void {
  const row = Buffer.allocUnsafe(16 + Buffer.byteLength(digest))
  row.writeDoubleBE(position, 0)
  row.writeDoubleBE(time, 8)
  row.write(digest, 16)
  tables.ids.put(idKey, row)
  const order = Buffer.allocUnsafe(8 + idKey.length)
  order.writeDoubleBE(time, 0)
  idKey.copy(order, 8)
  append(tables.idOrder, key, order)
}

function append(table: Table, key: Buffer, value: Buffer): void {
  // Never overwrites: an entry at this position would mean that the head is wrong.
  if (table.putSync(key, value, { append: true }) === false) throw new BridgeError('log_damaged', 'the log has entries beyond its head')
}

function forgetMemberships(tables: Tables, member: Member): void {
  for (const key of [...tables.members.getKeys(membershipRange(member))]) tables.members.remove(key)
}
