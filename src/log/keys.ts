import { createHash } from 'node:crypto'
import type { Member } from '../core/entry.ts'
import { type Stream, sessionStream, userStream } from '../core/target.ts'
import { BridgeError } from '../errors.ts'

// LMDB compares keys byte by byte, so a big-endian position at the end keeps a stream in order. Names hold no NUL, so a NUL ends
// them without doubt: no name can reach into the keys of another one.
const maxKeyBytes = 1978
const positionBytes = 8

export function positionKey(position: number): Buffer {
  const key = Buffer.allocUnsafe(positionBytes)
  writePosition(key, 0, position)
  return key
}

export function readPosition(key: Buffer, offset: number): number {
  return key.readUInt32BE(offset) * 2 ** 32 + key.readUInt32BE(offset + 4)
}

function writePosition(key: Buffer, offset: number, position: number): void {
  key.writeUInt32BE(Math.floor(position / 2 ** 32), offset)
  key.writeUInt32BE(position >>> 0, offset + 4)
}

/** `<stream> NUL <position>` */
export function indexKey(stream: Stream, position: number): Buffer {
  const length = Buffer.byteLength(stream)
  checkLength(length + 1 + positionBytes, stream)
  const key = Buffer.allocUnsafe(length + 1 + positionBytes)
  key.write(stream)
  key[length] = 0
  writePosition(key, length + 1, position)
  return key
}

/** Before it is written, where a name that is too long would fail the appends of others. @throws BridgeError invalid_event */
export function checkStream(stream: Stream): void {
  checkLength(Buffer.byteLength(stream) + 1 + positionBytes, stream)
}

export function indexPosition(key: Buffer): number {
  return readPosition(key, key.length - positionBytes)
}

/** `<member> NUL <room>` */
export function membershipKey(member: Member, room: string): Buffer {
  const key = Buffer.from(`${memberName(member)}\0${room}`)
  checkLength(key.length, room)
  return key
}

/** All memberships of a member lie in [start, end). */
export function membershipRange(member: Member): { readonly start: Buffer; readonly end: Buffer } {
  return { start: Buffer.from(`${memberName(member)}\0`), end: Buffer.from(`${memberName(member)}\x01`) }
}

/** All memberships of all sessions. */
export const sessionMemberships = { start: Buffer.from(sessionStream('')), end: Buffer.from('session;') } as const

/** All memberships of all users. */
export const userMemberships = { start: Buffer.from(userStream('')), end: Buffer.from('user;') } as const

export function membershipRoom(key: Buffer): string {
  return key.toString('utf8', key.indexOf(0) + 1)
}

export function membershipSession(key: Buffer): string {
  return key.toString('utf8', sessionMemberships.start.length, key.indexOf(0))
}

export function membershipUser(key: Buffer): string {
  return key.toString('utf8', userMemberships.start.length, key.indexOf(0))
}

function memberName(member: Member): string {
  return 'user' in member ? userStream(member.user) : sessionStream(member.session)
}

/** Short ids stand as they are, so that ids that grow stay together on disk; the first byte keeps them apart from hashes. */
export function dedupeKey(id: string): Buffer {
  const bytes = Buffer.from(`=${id}`)
  return bytes.length <= 256 ? bytes : Buffer.concat([Buffer.from('#'), createHash('sha256').update(id).digest()])
}

function checkLength(bytes: number, name: string): void {
  if (bytes > maxKeyBytes) throw new BridgeError('invalid_event', `a name of ${name.length} characters is too long for the log`)
}
