import type { Membership } from '../core/entry.ts'
import type { Tables } from './store.ts'

// The bytes of a membership, big-endian: 0 flags | 1 position (f64) | 9 time (f64) | 17 given at (f64) | 25 until (f64), each of the last two when its flag says so
const presentFlag = 1
const authorizedFlag = 2
const untilFlag = 4

/** The membership in a row. */
export function readMembership(tables: Tables, key: Buffer): Membership | undefined {
  const row = tables.members.get(key)
  return row && decodeMembership(row)
}

/** Puts a membership in its row; returns the one that stood there. */
export function writeMembership(tables: Tables, key: Buffer, membership: Membership): Membership | undefined {
  const row = tables.members.get(key)
  tables.members.put(key, encodeMembership(membership))
  return row && decodeMembership(row)
}

export function encodeMembership({ present, position, time, authorized }: Membership): Buffer {
  const { givenAt, until } = authorized ?? {}
  const bytes = Buffer.allocUnsafe(givenAt === undefined ? 17 : until === undefined ? 25 : 33)
  bytes[0] = (present ? presentFlag : 0) | (givenAt === undefined ? 0 : authorizedFlag) | (until === undefined ? 0 : untilFlag)
  bytes.writeDoubleBE(position, 1)
  bytes.writeDoubleBE(time, 9)
  if (givenAt !== undefined) bytes.writeDoubleBE(givenAt, 17)
  if (until !== undefined) bytes.writeDoubleBE(until, 25)
  return bytes
}

export function decodeMembership(row: Buffer): Membership {
  const flags = row[0] ?? 0
  const membership = { present: (flags & presentFlag) !== 0, position: row.readDoubleBE(1), time: row.readDoubleBE(9) }
  if ((flags & authorizedFlag) === 0) return membership
  return { ...membership, authorized: { givenAt: row.readDoubleBE(17), ...(flags & untilFlag ? { until: row.readDoubleBE(25) } : {}) } }
}
