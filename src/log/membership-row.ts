import type { Membership } from '../core/entry.ts'
import type { Tables } from './store.ts'

// The bytes of a membership, big-endian: 0 flags | 1 position (f64) | 9 time (f64) | 17 until (f64, when the flag says so)
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
  tables.members.put(key, encode(membership))
  return row && decodeMembership(row)
}

function encode({ present, position, time, authorized }: Membership): Buffer {
  const until = authorized?.until
  const bytes = Buffer.allocUnsafe(until === undefined ? 17 : 25)
  bytes[0] = (present ? presentFlag : 0) | (authorized === undefined ? 0 : authorizedFlag) | (until === undefined ? 0 : untilFlag)
  bytes.writeDoubleBE(position, 1)
  bytes.writeDoubleBE(time, 9)
  if (until !== undefined) bytes.writeDoubleBE(until, 17)
  return bytes
}

export function decodeMembership(row: Buffer): Membership {
  const flags = row[0] ?? 0
  const authorized = flags & authorizedFlag ? { authorized: flags & untilFlag ? { until: row.readDoubleBE(17) } : {} } : {}
  return { present: (flags & presentFlag) !== 0, position: row.readDoubleBE(1), time: row.readDoubleBE(9), ...authorized }
}
