import { type Entry, type Membership, type Stored, toMembership } from '../../core/entry.ts'
import type { Revocation } from '../../core/revocation.ts'
import { BridgeError } from '../../errors.ts'
import { type Prepared, prepare } from '../append.ts'
import { membershipKey, membershipRange } from '../keys.ts'
import { bodyOf, decodeBody } from '../record.ts'
import { unpack } from './pack.ts'
import { timeOf, toPosition } from './place.ts'

// A membership in Redis: `<position>:<1 or 0>`, then `a`, when the authorization was given, `-` and its end, when somebody has allowed it.

// A revocation: `<position>:<expires at>:<issued before, or nothing>:<body>`; the bounds are what came of all that took the place of each other.

/** An entry as the append script takes it. */
export interface Frame {
  readonly prepared: Prepared
  readonly kind: string
  readonly body: Buffer
  readonly a: string | Buffer
  readonly b: string | Buffer
}

/** What was read from the stream. */
export interface Followed {
  readonly stored: Stored
  /** As in `bodyOf`. */
  readonly body: Buffer
}

/** `olderThan`: for what is put back after it was lost: only if nothing stands there that is as new. @throws BridgeError invalid_event */
export function toFrame(entry: Entry, olderThan?: number): Frame {
  const prepared = prepare(entry)
  const frame = { prepared, body: bodyOf(prepared.draft) }
  switch (entry.kind) {
    case 'event':
      return { ...frame, kind: entry.volatile ? 'v' : 'e', a: '', b: entry.digest ?? '' }
    case 'membership': {
      const kind = olderThan === undefined ? 'm' : `M${olderThan}`
      return { ...frame, kind, a: membershipKey(entry.member, entry.room), b: encodeState(toMembership(entry, 0, 0)) }
    }
    case 'session-ended': {
      const { start, end } = membershipRange(entry)
      return { ...frame, kind: 's', a: start, b: end }
    }
    case 'revocation':
      return { ...frame, kind: olderThan === undefined ? 'r' : `R${olderThan}`, a: entry.revocation.id, b: encodeBounds(entry.revocation) }
    case 'revocation-lifted':
      return { ...frame, kind: 'l', a: entry.id, b: String(entry.expiredBy ?? '') }
    case 'disconnect':
      return { ...frame, kind: 'p', a: '', b: '' }
    default:
      return entry satisfies never
  }
}

/** What one entry of a stream holds. */
export interface Row {
  /** Of the last of them. */
  readonly position: number
  /** In order; none when it cannot be read. */
  readonly entries: readonly Followed[]
  /** The newest entry that lasts, not a volatile one, and stands in front of it: see `Meta`. */
  readonly after: number
}

/**
 * Undefined: something else has written it. The name of its first field says how it is to be read: `e` an entry, `p` a pack of events. A later version that writes what must
 * not be passed over gives it another letter; what it only adds to a body is passed over. `onDamaged`: for what cannot be read; it is passed over too.
 * @throws BridgeError log_foreign: a later version has written it
 */
export function fromStream(id: string, fields: readonly Buffer[], onDamaged: (error: unknown) => void): Row | undefined {
  const label = fields[0]?.toString() ?? ''
  const position = toPosition(id)
  const after = Number(fieldOf(fields, 'a') ?? Number.NaN)
  if ((label === 'e' || label === 'p') && Number.isSafeInteger(after)) {
    return { position, after, entries: label === 'e' ? toEntry(position, fields, onDamaged) : toPack(position, fields, onDamaged) }
  }
  if (/^[a-df-oq-z]$/.test(label)) throw new BridgeError('log_foreign', laterVersion)
  onDamaged(new BridgeError('log_damaged', 'something else has written to the log'))
  return undefined
}

const nothing = Buffer.alloc(0)
const laterVersion = 'a later version of Sidecast has written to the log in Redis: update this node'

/** One of those behind the first. */
export function fieldOf(fields: readonly Buffer[], name: string): string | undefined {
  for (let at = 2; at < fields.length; at += 2) if (fields[at]?.toString() === name) return fields[at + 1]?.toString()
  return undefined
}

function toEntry(position: number, fields: readonly Buffer[], onDamaged: (error: unknown) => void): readonly Followed[] {
  const was = fieldOf(fields, 'w')
  return toFollowed(position, fields[1] ?? nothing, onDamaged, was === undefined ? undefined : decodeRow(was))
}

function toPack(last: number, fields: readonly Buffer[], onDamaged: (error: unknown) => void): readonly Followed[] {
  try {
    const bodies = unpack(fields[1] ?? nothing)
    return bodies.flatMap((event, index) => toFollowed(last - bodies.length + 1 + index, event, onDamaged))
  } catch (error) {
    onDamaged(new BridgeError('log_damaged', 'a pack of events cannot be read: something else has written to the log', { cause: error }))
    return []
  }
}

function toFollowed(position: number, body: Buffer, onDamaged: (error: unknown) => void, was?: Membership): readonly Followed[] {
  try {
    return [{ stored: { position, time: timeOf(position), entry: decodeBody(body), ...(was && { was }) }, body }]
  } catch (error) {
    onDamaged(error)
    return []
  }
}

function encodeState({ present, authorized }: Membership): string {
  return `${present ? 1 : 0}${authorized === undefined ? '' : `a${authorized.givenAt}-${authorized.until ?? ''}`}`
}

export function decodeRow(row: string): Membership | undefined {
  const [, digits, present, givenAt, until] = /^(\d+):([01])(?:a(-?[\d.]+)-([\d.]*))?$/.exec(row) ?? []
  if (digits === undefined) return undefined
  const position = Number(digits)
  const authorized = givenAt === undefined ? {} : { authorized: { givenAt: Number(givenAt), ...(until && { until: Number(until) }) } }
  return { present: present === '1', position, time: timeOf(position), ...authorized }
}

function encodeBounds({ expiresAt, issuedBefore }: Revocation): string {
  return `${expiresAt}:${issuedBefore ?? ''}`
}

/** @throws BridgeError log_damaged */
export function decodeRevocationRow(row: Buffer): Stored {
  const [head = '', position, expiresAt, bound] = /^(\d+):([\d.]+):([\d.]*):/.exec(row.toString('latin1')) ?? []
  const entry = decodeBody(row.subarray(head.length))
  if (entry.kind !== 'revocation') throw new BridgeError('log_damaged', 'a revocation in Redis is something else')
  const { issuedBefore: _, ...revocation } = entry.revocation
  return {
    position: Number(position),
    time: timeOf(Number(position)),
    entry: { ...entry, revocation: { ...revocation, expiresAt: Number(expiresAt), ...(bound && { issuedBefore: Number(bound) }) } },
  }
}
