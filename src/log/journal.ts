import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Stored } from '../core/entry.ts'
import { syncFolder } from './data-folder.ts'
import { decodeRecord } from './record.ts'
import { writeAll, writeAllSync } from './write-all.ts'

// The file has two halves, which take turns. In each stand groups, one behind the other, from its beginning on. The bytes of a group, big-endian:
//   0 CRC-32 of all that follows | 4 key of the run (16 bytes) | 20 lap (u32) | 24 length of the records (u32) | 28 records, each behind its length (u32)
const keyStart = 4
const keyBytes = 16
const lapStart = 20
const lengthStart = 24
const headBytes = 28
const halfBytes = 2 ** 22
const pieceBytes = 2 ** 20
// Up to about this size a write into the memory of the system takes less time than to ask a thread for it. It holds up the event loop only where the kernel makes a writer
// wait: the pages are not in memory and must be read, too much memory waits for the disk, the file system commits a journal of its own, or it wants pages still while it
// writes them; never for our own sync, since a group is written after the sync of the one before.
const maxDirectBytes = 2 ** 16

interface Half {
  readonly start: number
  /** Behind the last group. */
  end: number
  /** The position of the newest entry in it: when that stands in the tables, the half can be written anew. */
  newest: number
}

/**
 * Where entries are made durable before they stand in the tables: one write and one sync for what many callers append together, on pages that follow each other,
 * in space that was taken from the disk before. The tables, whose pages lie anywhere, follow a little later and with more at once.
 */
export class Journal {
  readonly #file: FileHandle
  readonly #synced: boolean
  readonly #key: Buffer
  #halves: readonly [Half, Half] = [
    { start: 0, end: 0, newest: 0 },
    { start: halfBytes, end: halfBytes, newest: 0 },
  ]
  #lap = 1
  /** The size of the largest group that could not be written since one could: a smaller one proves nothing. There is room for it. */
  #failedBytes = 0

  /** `run`: who writes now. What other runs have written is not looked at any more: read it before. */
  static async open(path: string, synced: boolean, secret: string, run: string): Promise<Journal> {
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644)
    try {
      const { size } = await file.stat()
      if (size < halfBytes * 2) {
        // All its blocks, so that a sync has nothing to tell the file system but the bytes themselves.
        for (let at = size; at < halfBytes * 2; at += pieceBytes) await writeAll(file, Buffer.alloc(Math.min(pieceBytes, halfBytes * 2 - at)), at)
        await file.sync()
        await syncFolder(dirname(path))
      }
      return new Journal(file, synced, runKey(secret, run))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  private constructor(file: FileHandle, synced: boolean, key: Buffer) {
    this.#file = file
    this.#synced = synced
    this.#key = key
  }

  /** Up to where the tables must have followed before these records can be written; undefined: they will never fit. */
  needs(records: readonly Buffer[]): number | undefined {
    const [current, other] = this.#halves
    const bytes = groupBytes(records)
    if (bytes > halfBytes) return undefined
    return current.end + bytes <= current.start + halfBytes ? 0 : other.newest
  }

  /**
   * Resolves when the records are on the disk. One at a time; what fails is as if it had never been tried.
   * `newest`: the position of the last one.
   */
  async write(records: readonly Buffer[], newest: number): Promise<void> {
    const bytes = groupBytes(records)
    const half = this.#halfFor(bytes)
    await this.#put(half, this.#encode(records, bytes))
    half.end += bytes
    half.newest = newest
  }

  /** Writes nothing that could be read, where the next group will stand and by the same way; not while a group is written. @throws the error of the disk */
  async tryDisk(): Promise<void> {
    const [current] = this.#halves
    const room = current.start + halfBytes - current.end
    await this.#put(current, Buffer.alloc(Math.min(Math.max(headBytes, this.#failedBytes), room)))
  }

  /** When all stands in the tables: nothing is left to be read. */
  async clear(): Promise<void> {
    for (const { start } of this.#halves) await writeAll(this.#file, Buffer.alloc(headBytes), start)
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  /** Behind the last group of a half. */
  async #put(half: Half, bytes: Buffer): Promise<void> {
    try {
      if (bytes.length <= maxDirectBytes) writeAllSync(this.#file, bytes, half.end)
      else await writeAll(this.#file, bytes, half.end)
      if (this.#synced) await this.#file.datasync()
    } catch (error) {
      // Whoever waits is told that it is not stored, so it must not be found.
      await writeAll(this.#file, Buffer.alloc(Math.min(headBytes, bytes.length)), half.end).catch(() => undefined)
      this.#failedBytes = Math.max(this.#failedBytes, bytes.length)
      throw error
    }
    this.#failedBytes = 0
  }

  /** The one that is written, or the other one when there is not so much room in it. */
  #halfFor(bytes: number): Half {
    const [current, other] = this.#halves
    if (current.end + bytes <= current.start + halfBytes) return current
    other.end = other.start
    this.#halves = [other, current]
    this.#lap++
    return other
  }

  #encode(records: readonly Buffer[], bytes: number): Buffer {
    const group = Buffer.allocUnsafe(bytes)
    this.#key.copy(group, keyStart)
    group.writeUInt32BE(this.#lap, lapStart)
    group.writeUInt32BE(bytes - headBytes, lengthStart)
    let at = headBytes
    for (const record of records) {
      at = group.writeUInt32BE(record.length, at)
      at += record.copy(group, at)
    }
    group.writeUInt32BE(crc32(group.subarray(keyStart)), 0)
    return group
  }
}

function groupBytes(records: readonly Buffer[]): number {
  return records.reduce((sum, record) => sum + 4 + record.length, headBytes)
}

/** What a run has written, in order, as far as it is whole; a file that is not there has nothing. The newest groups may be missing: those were never accepted. */
export async function readJournal(path: string, secret: string, run: string): Promise<readonly Stored[]> {
  const key = runKey(secret, run)
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  try {
    if (file === undefined) return []
    const halves = [await readHalf(file, 0, key), await readHalf(file, halfBytes, key)]
    return halves.toSorted((one, other) => one.lap - other.lap).flatMap(({ entries }) => entries)
  } finally {
    await file?.close()
  }
}

async function readHalf(file: FileHandle, start: number, key: Buffer): Promise<{ readonly lap: number; readonly entries: readonly Stored[] }> {
  const entries: Stored[] = []
  const { bytesRead, buffer } = await file.read(Buffer.alloc(headBytes), 0, headBytes, start)
  if (bytesRead < headBytes || !isOf(buffer, key)) return { lap: 0, entries }
  const bytes = Buffer.alloc(halfBytes)
  await file.read(bytes, 0, halfBytes, start)
  const lap = bytes.readUInt32BE(lapStart)
  for (let at = 0; at + headBytes <= halfBytes; ) {
    const end = at + headBytes + bytes.readUInt32BE(at + lengthStart)
    // Behind the last one stands what is left of an earlier lap.
    if (end > halfBytes || !isOf(bytes.subarray(at), key) || bytes.readUInt32BE(at + lapStart) !== lap) break
    const group = bytes.subarray(at, end)
    if (crc32(group.subarray(keyStart)) !== group.readUInt32BE(0)) break
    for (let next = headBytes; next < group.length; ) {
      const record = next + 4
      next = record + group.readUInt32BE(next)
      entries.push(decodeRecord(group.subarray(record, next)))
    }
    at = end
  }
  return { lap, entries }
}

function isOf(group: Buffer, key: Buffer): boolean {
  return group.compare(key, 0, keyBytes, keyStart, keyStart + keyBytes) === 0
}

/** Publishers know the run but not the secret: nothing that they send can look like a group. */
function runKey(secret: string, run: string): Buffer {
  return createHash('sha256').update(`journal ${secret} ${run}`).digest().subarray(0, keyBytes)
}
