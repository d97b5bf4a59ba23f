import { type Membership, type Stored, toMembership } from '../core/entry.ts'
import type { Appended } from '../core/event-log.ts'
import type { Stream } from '../core/target.ts'
import { type Prepared, prepare, readId, toKnown, writeId, writeSealed } from './append.ts'
import { dedupeKey, membershipKey } from './keys.ts'
import { Latest } from './latest.ts'
import { decodeMembership, encodeMembership } from './membership-row.ts'
import { draftRecord, sealRecord } from './record.ts'
import { encodeState, type State } from './state.ts'
import { type Append, type Store, stateKey, type Tables } from './store.ts'
import type { Tail } from './tail.ts'

/** An entry that has its place, and what is needed to write it: many of them wait for the tables at a time, so no more than that. */
export interface Placed {
  readonly stored: Stored
  /** As in `Prepared`. */
  readonly streams: readonly Stream[]
  readonly record: Buffer
}

export interface Placement {
  readonly placed: readonly Placed[]
  readonly outcomes: readonly (readonly Appended[])[]
}

/** Whether its place can be decided from what the tail knows: what concerns revocations, and what a session leaves behind, only the tables know. */
export function isPlaceable({ entry }: Prepared): boolean {
  return entry.kind === 'event' || entry.kind === 'membership' || entry.kind === 'disconnect'
}

/** Decides what becomes of several callers' appends, without writing anything: as `writeAppends`, from the tables and what is not in them yet. */
export function placeAppends(
  store: Store,
  tail: Tail,
  before: State,
  appends: readonly (readonly Prepared[])[],
  now: number,
  dedupeWindowMs: number,
): Placement {
  // One time for the group, and never one before that of an older entry, whatever the clock does.
  const time = Math.max(now, before.time)
  let { head } = before
  const placed: Placed[] = []
  const group = new Latest()
  const sources = [group, tail.latest]
  const outcomes = appends.map((append) =>
    append.map((prepared): Appended => {
      const known = findId(store, sources, prepared, time, dedupeWindowMs)
      if (known !== undefined) return known
      head++
      const one = place(prepared, head, time, findMembership(store, sources, prepared))
      group.add(one.stored)
      placed.push(one)
      return { outcome: 'stored', position: head, time }
    }),
  )
  return { placed, outcomes }
}

/** What was placed by a process that did not come to writing it. */
export function placeAgain({ entry, position, time, was }: Stored): Placed {
  return place(prepare(entry), position, time, was)
}

/** Writes entries whose places were decided before, and the state that they leave, in one transaction, behind what `action` writes; reads nothing. */
export function writePlaced(store: Store, part: readonly Placed[], state: State, action?: (tables: Tables) => void): Promise<void> {
  return store.writeBehind(part[0]?.stored.position, (append) => {
    // In this order: what is removed was chosen before these rows were there, and the row of an id that is used again has the key of the old one.
    action?.(store.tables)
    for (const placed of part) writeOne(store.tables, append, placed)
    store.tables.meta.put(stateKey, encodeState(state))
  })
}

function writeOne(tables: Tables, append: Append, { stored, streams, record }: Placed): void {
  const { entry, position, time } = stored
  if (entry.kind === 'event' && entry.digest !== undefined) writeId(tables, append, dedupeKey(entry.id), entry.digest, position, time)
  if (entry.kind === 'membership') tables.members.put(membershipKey(entry.member, entry.room), encodeMembership(toMembership(entry, position, time)))
  if (streams.length > 0) writeSealed(tables, append, record, streams, position)
}

function place(prepared: Prepared, position: number, time: number, was: Membership | undefined): Placed {
  const { entry, draft, streams } = prepared
  if (was === undefined) return { stored: { position, time, entry }, streams, record: sealRecord(draft, position, time) }
  return { stored: { position, time, entry, was }, streams, record: sealRecord(draftRecord(entry, was), position, time) }
}

function findId(store: Store, sources: readonly Latest[], { entry, idKey }: Prepared, time: number, windowMs: number): Appended | undefined {
  if (idKey === undefined || entry.kind !== 'event') return undefined
  for (const source of sources) {
    const known = source.findId(entry.id)
    if (known !== undefined) return toKnown(entry, known, time, windowMs)
  }
  return toKnown(entry, readId(store.tables, idKey, { transaction: store.snapshot }), time, windowMs)
}

function findMembership(store: Store, sources: readonly Latest[], { entry, memberKey }: Prepared): Membership | undefined {
  if (memberKey === undefined || entry.kind !== 'membership') return undefined
  for (const source of sources) {
    const membership = source.membership(entry.member, entry.room)
    if (membership !== undefined) return membership
  }
  const row = store.tables.members.get(memberKey, { transaction: store.snapshot })
  return row && decodeMembership(row)
}
