import { entryStreams } from '../core/entry.ts'
import type { Stream } from '../core/target.ts'
import { indexKey, positionKey, readPosition } from './keys.ts'
import { decodeRecord, recordTime } from './record.ts'
import type { State } from './state.ts'
import type { Store, Tables } from './store.ts'

export interface RetentionOptions {
  readonly retentionAgeMs: number
  readonly retentionEvents: number
  readonly dedupeWindowMs: number
}

/** What one small transaction takes away. Decided on the snapshot, so that the transaction only deletes. */
export interface Removal {
  readonly state: State
  readonly entries: readonly { readonly key: Buffer; readonly streams: readonly Buffer[] }[]
  readonly ids: readonly { readonly orderKey: Buffer; readonly idKey: Buffer | undefined }[]
}

/** The oldest entries and ids that are due, at most `limit` of each; undefined when there are none. `keepFrom`: what stands before it is due anyway. */
export function planRemoval(
  store: Store,
  before: State,
  now: number,
  options: RetentionOptions,
  limit: number,
  onDamaged: (error: unknown) => void,
  keepFrom = 0,
): Removal | undefined {
  const entries: { key: Buffer; streams: Buffer[] }[] = []
  let first = before.first
  const surplus = before.kept - options.retentionEvents
  const transaction = store.snapshot
  for (const { key, value } of store.tables.entries.getRange({ start: positionKey(before.first), limit, transaction })) {
    const position = readPosition(key, 0)
    if (entries.length >= surplus && now - recordTime(value) < options.retentionAgeMs && position >= keepFrom) break
    entries.push({ key, streams: streamsOf(value, position, onDamaged).map((stream) => indexKey(stream, position)) })
    first = position + 1
  }
  const ids = planIds(store, now, options.dedupeWindowMs, limit)
  if (entries.length === 0 && ids.length === 0) return undefined
  return { state: { ...before, first, kept: before.kept - entries.length }, entries, ids }
}

/** Without the state, which is written by whoever commits. */
export function remove(tables: Tables, removal: Removal): void {
  for (const { key, streams } of removal.entries) {
    tables.entries.remove(key)
    for (const stream of streams) tables.streams.remove(stream)
  }
  for (const { orderKey, idKey } of removal.ids) {
    tables.idOrder.remove(orderKey)
    if (idKey !== undefined) tables.ids.remove(idKey)
  }
}

function planIds(store: Store, now: number, windowMs: number, limit: number): Removal['ids'] {
  const ids: { orderKey: Buffer; idKey: Buffer | undefined }[] = []
  const transaction = store.snapshot
  for (const { key, value } of store.tables.idOrder.getRange({ limit, transaction })) {
    if (now - value.readDoubleBE(0) < windowMs) break
    const idKey = Buffer.from(value.subarray(8))
    const row = store.tables.ids.get(idKey, { transaction })
    // The id may have been used again after the window, and then its row belongs to the later event.
    ids.push({ orderKey: key, idKey: row?.readDoubleBE(0) === readPosition(key, 0) ? idKey : undefined })
  }
  return ids
}

function streamsOf(record: Buffer, position: number, onDamaged: (error: unknown) => void): readonly Stream[] {
  try {
    return [...new Set(entryStreams(decodeRecord(record, position).entry))]
  } catch (error) {
    // Damage must not stop the trimming for ever. The rows of its streams stay behind, before `first`, where nobody reads.
    onDamaged(error)
    return []
  }
}
