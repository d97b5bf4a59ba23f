import { crc32 } from 'node:zlib'
import type { Entry, EventEntry, Membership, Stored } from '../core/entry.ts'
import { BridgeError } from '../errors.ts'

// The bytes of one stored entry, big-endian:
//   0 CRC-32 of all that follows | 4 version | 5 position (f64) | 13 time (f64) | 21 header length (u32) | 25 header (JSON) | data (text)
const version = 1
const sealEnd = 21
const headerStart = 25

type Header = (Omit<EventEntry, 'data'> | Exclude<Entry, EventEntry>) & { readonly was?: Membership }

/** A record without its place: encoded before the transaction, so that only these 21 bytes are written while it holds the lock. */
export interface Draft {
  readonly bytes: Buffer
  readonly bodyCrc: number
}

export function draftRecord(entry: Entry, was?: Membership): Draft {
  const data = entry.kind === 'event' ? entry.data : ''
  // What is undefined is left out: a copy without the field would take as long as all the rest.
  const json = JSON.stringify({ ...entry, data: undefined, was })
  const headerLength = Buffer.byteLength(json)
  const bytes = Buffer.allocUnsafe(headerStart + headerLength + Buffer.byteLength(data))
  bytes.writeUInt32BE(headerLength, sealEnd)
  bytes.write(json, headerStart)
  bytes.write(data, headerStart + headerLength)
  return { bytes, bodyCrc: crc32(bytes.subarray(sealEnd)) }
}

/** All of the entry but its place, as it can be kept elsewhere. */
export function bodyOf({ bytes }: Draft): Buffer {
  return bytes.subarray(sealEnd)
}

/** A draft of what `bodyOf` gave. */
export function draftOf(body: Buffer): Draft {
  const bytes = Buffer.allocUnsafe(sealEnd + body.length)
  body.copy(bytes, sealEnd)
  return { bytes, bodyCrc: crc32(body) }
}

/** The entry in what `bodyOf` gave. @throws BridgeError log_damaged */
export function decodeBody(body: Buffer): Entry {
  try {
    return decode(body).entry
  } catch (error) {
    throw new BridgeError('log_damaged', 'an entry cannot be read: something else has written to the log', { cause: error })
  }
}

function decode(body: Buffer): { readonly entry: Entry; readonly was?: Membership } {
  const dataStart = headerStart - sealEnd + body.readUInt32BE(0)
  const { was, ...header } = JSON.parse(body.toString('utf8', headerStart - sealEnd, dataStart)) as Header
  const entry: Entry = header.kind === 'event' ? { ...header, data: body.toString('utf8', dataStart) } : header
  return { entry, ...(was && { was }) }
}

/** Gives the draft its place; the bytes are complete afterwards. */
export function sealRecord(draft: Draft, position: number, time: number): Buffer {
  const { bytes } = draft
  bytes[4] = version
  bytes.writeDoubleBE(position, 5)
  bytes.writeDoubleBE(time, 13)
  bytes.writeUInt32BE(crc32(bytes.subarray(4, sealEnd), draft.bodyCrc), 0)
  return bytes
}

/** The time alone, for deciding what is old; not checked. */
export function recordTime(bytes: Buffer): number {
  return bytes.length < headerStart ? 0 : bytes.readDoubleBE(13)
}

/** `expected`: the position under which the record was found. @throws BridgeError log_damaged: these are not the bytes that were written there. */
export function decodeRecord(bytes: Buffer, expected?: number): Stored {
  const cure = 'restore the data folder from a backup, or move it away to start an empty log'
  const place = expected === undefined ? 'an entry' : `the entry at position ${expected}`
  if (bytes.length < headerStart || crc32(bytes.subarray(4, sealEnd), crc32(bytes.subarray(sealEnd))) !== bytes.readUInt32BE(0)) {
    throw new BridgeError('log_damaged', `${place} fails its checksum: ${cure}`)
  }
  const position = bytes.readDoubleBE(5)
  // A whole record in the wrong place is damage too: the pages of the file were mixed up.
  if (bytes[4] !== version || (expected ?? position) !== position) throw new BridgeError('log_damaged', `${place} is another one: ${cure}`)
  // Only our own encoder writes bytes that pass the checksum.
  return { position, time: bytes.readDoubleBE(13), ...decode(bytes.subarray(sealEnd)) }
}
