import { entryStreams, type Member, type Membership, type RevocationEntry, type Stored } from '../core/entry.ts'
import type { Reading } from '../core/event-log.ts'
import type { Stream } from '../core/target.ts'
import { BridgeError } from '../errors.ts'
import {
  indexKey,
  indexPosition,
  membershipRange,
  membershipRoom,
  membershipSession,
  membershipUser,
  positionKey,
  readPosition,
  sessionMemberships,
  userMemberships,
} from './keys.ts'
import { decodeMembership } from './membership-row.ts'
import { decodeRecord } from './record.ts'
import type { State } from './state.ts'
import type { Store } from './store.ts'
import type { Tail } from './tail.ts'

const chunk = 64

/** A cursor for each of so many streams costs more than a look at as many entries. */
const scanFrom = 64

/** `tail`: what the tables do not have yet; `state` is that with it. */
export function readStreams(store: Store, { first, head }: State, after: number, streams: readonly Stream[], limit: number, tail?: Tail): Reading {
  if (after < first - 1 || after > head) return { gap: true }
  const wanted = new Set(streams)
  const scanned = wanted.size < scanFrom ? undefined : scan(store, { head, after, limit }, wanted, tail)
  if (scanned !== undefined) return scanned
  const entries: Stored[] = []
  const heads = [...wanted].map((stream) => new StreamHead(store, stream, after, tail))
  let upTo = after
  for (;;) {
    const position = heads.reduce((least, { position }) => Math.min(least, position), Number.POSITIVE_INFINITY)
    if (position === Number.POSITIVE_INFINITY) return { gap: false, entries, upTo: head, more: false }
    if (entries.length >= limit) return { gap: false, entries, upTo, more: true }
    entries.push(tail?.get(position) ?? readEntry(store, position))
    upTo = position
    for (const head of heads) head.pass(position)
  }
}

/**
 * Looks at each entry in place of each stream: whoever is in ten thousand rooms and was away for a moment has missed fewer entries than that.
 * Undefined: there are more entries than streams, or one of somebody else is damaged.
 */
function scan(
  store: Store,
  { head, after, limit }: { readonly head: number; readonly after: number; readonly limit: number },
  wanted: ReadonlySet<Stream>,
  tail: Tail | undefined,
): Reading | undefined {
  const entries: Stored[] = []
  const range = { start: positionKey(after + 1), end: positionKey(head + 1), limit: wanted.size, transaction: store.snapshot }
  let count = 0
  for (const stored of settledThenTail(store, range, tail)) {
    if (stored === undefined || ++count === wanted.size) return undefined
    if (!entryStreams(stored.entry).some((stream) => wanted.has(stream))) continue
    if (entries.length >= limit) return { gap: false, entries, upTo: entries.at(-1)?.position ?? after, more: true }
    entries.push(stored)
  }
  return { gap: false, entries, upTo: head, more: false }
}

/** Undefined: one that is damaged. For an instant the tail may begin with what the tables have. */
function* settledThenTail(
  store: Store,
  range: Parameters<Store['tables']['entries']['getRange']>[0] & { readonly start: Buffer },
  tail: Tail | undefined,
): Iterable<Stored | undefined> {
  let next = readPosition(range.start, 0)
  for (const { key, value } of store.tables.entries.getRange(range)) {
    const position = readPosition(key, 0)
    next = position + 1
    yield decodedOrNothing(value, position)
  }
  for (const stored of tail?.all() ?? []) if (stored.position >= next && entryStreams(stored.entry).length > 0) yield stored
}

function decodedOrNothing(record: Buffer, position: number): Stored | undefined {
  try {
    return decodeRecord(record, position)
  } catch {
    return undefined
  }
}

function readEntry(store: Store, position: number): Stored {
  const recent = store.recent.get(position)
  if (recent !== undefined) return recent
  const record = store.tables.entries.get(positionKey(position), { transaction: store.snapshot })
  if (record === undefined) {
    throw new BridgeError(
      'log_damaged',
      `the entry at position ${position} is missing: restore the data folder from a backup, or move it away to start an empty log`,
    )
  }
  const stored = decodeRecord(record, position)
  store.recent.keep(stored, record.length)
  return stored
}

/** Where the merge stands in one stream. Positions are fetched in chunks: a stream is not read further than needed. */
class StreamHead {
  readonly #store: Store
  readonly #stream: Stream
  readonly #tail: Tail | undefined
  #chunk: readonly number[] = []
  #index = 0
  #ended = false

  constructor(store: Store, stream: Stream, after: number, tail: Tail | undefined) {
    this.#store = store
    this.#stream = stream
    this.#tail = tail
    this.#fetch(after + 1)
  }

  /** Infinity at the end. */
  get position(): number {
    return this.#chunk[this.#index] ?? Number.POSITIVE_INFINITY
  }

  pass(position: number): void {
    if (this.position !== position) return
    this.#index++
    if (this.#index === this.#chunk.length && !this.#ended) this.#fetch(position + 1)
  }

  #fetch(from: number): void {
    const { positions: settled, ended } = this.#store.positions.get(this.#stream, from) ?? readPositions(this.#store, this.#stream, from)
    this.#ended = ended
    // The tail goes on behind what the tables have; for an instant they may have the same.
    const next = (settled.at(-1) ?? from - 1) + 1
    this.#chunk = this.#ended && this.#tail !== undefined ? [...settled, ...this.#tail.positions(this.#stream, next)] : settled
    this.#index = 0
  }
}

function readPositions(store: Store, stream: Stream, from: number) {
  const range = { start: indexKey(stream, from), end: indexKey(stream, Number.MAX_SAFE_INTEGER), limit: chunk }
  const positions = [...store.tables.streams.getKeys({ ...range, transaction: store.snapshot })].map(indexPosition)
  const found = { from, positions, ended: positions.length < chunk }
  store.positions.keep(stream, found)
  return found
}

export function readMemberships(store: Store, member: Member, tail?: Tail): ReadonlyMap<string, Membership> {
  // Where rooms are those of tokens alone, a login looks for nothing.
  if (!store.hasMembers) return new Map(tail?.latest.memberships(member))
  const rows = store.tables.members.getRange({ ...membershipRange(member), transaction: store.snapshot })
  return new Map([
    ...[...rows].map(({ key, value }) => [membershipRoom(key), decodeMembership(value)] as const),
    ...(tail?.latest.memberships(member) ?? []),
  ])
}

/** Of all users, one after the other. */
export function* readUserMemberships(store: Store): Iterable<{ readonly user: string; readonly room: string; readonly membership: Membership }> {
  for (const { key, value } of store.tables.members.getRange({ ...userMemberships, transaction: store.snapshot })) {
    yield { user: membershipUser(key), room: membershipRoom(key), membership: decodeMembership(value) }
  }
}

/** Jumps from session to session, whatever number of rooms they have. */
export function readSessionsWithMemberships(store: Store, tail?: Tail): readonly string[] {
  const sessions: string[] = []
  let start: Buffer = sessionMemberships.start
  for (;;) {
    const [key] = [...store.tables.members.getKeys({ start, end: sessionMemberships.end, limit: 1, transaction: store.snapshot })]
    if (key === undefined) return tail === undefined ? sessions : [...new Set([...sessions, ...tail.latest.sessionsWithMemberships()])]
    const session = membershipSession(key)
    sessions.push(session)
    start = membershipRange({ session }).end
  }
}

/** In the order of the log. @throws BridgeError log_damaged */
export function readRevocations(store: Store, after: number): readonly Stored<RevocationEntry>[] {
  const rows = store.tables.revocations.getRange({ transaction: store.snapshot })
  const isRevocation = (stored: Stored): stored is Stored<RevocationEntry> => stored.entry.kind === 'revocation'
  return [...rows]
    .map(({ value }) => decodeRecord(value))
    .filter(isRevocation)
    .filter(({ position }) => position > after)
    .toSorted((one, other) => one.position - other.position)
}
