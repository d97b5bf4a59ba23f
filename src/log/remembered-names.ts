import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { BridgeError } from '../errors.ts'
import { syncFolder } from './data-folder.ts'
import { reasonOf } from './log-condition.ts'
import { codeOf } from './owner.ts'
import { writeAll } from './write-all.ts'

// Two files, which take turns. In each stand rows, one behind the other, big-endian:
//   0 CRC-32 of what follows | 4 until when, in milliseconds since 1970 (f64) | 12 SHA-256 of the name
const untilStart = 4
const nameStart = 12
const rowBytes = 44

interface Half {
  readonly path: string
  /** Absent: nothing was written to it yet. */
  file?: FileHandle
  rows: number
  /** When the last of its names is over. */
  latest: number
}

interface Options {
  /** Whether a name is to survive the loss of power, or the end of the process only. */
  readonly synced: boolean
  /** Milliseconds since 1970. */
  readonly now: () => number
}

interface Waiting {
  readonly row: Buffer
  readonly until: number
  readonly resolve: (isNew: true) => void
  readonly reject: (error: unknown) => void
}

/**
 * What happens once, for as long as it could happen again, also when the process ends in between. What comes while the disk is written to shares the next write.
 * Only what earlier processes have left is held in the memory: each process asks once for each name, and knows by itself what it has asked for.
 */
export class RememberedNames {
  readonly #options: Options
  #halves: readonly [Half, Half]
  /** Of earlier processes. */
  readonly #before: Set<string>
  #beforeUntil: number
  #waiting: Waiting[] = []
  #running: Promise<void> | undefined
  #closed = false

  static async open(paths: readonly [string, string], options: Options): Promise<RememberedNames> {
    const before = new Set<string>()
    const [one, other] = [await readHalf(paths[0], options.now(), before), await readHalf(paths[1], options.now(), before)]
    return new RememberedNames(options, one.latest > other.latest ? [one, other] : [other, one], before)
  }

  private constructor(options: Options, halves: readonly [Half, Half], before: Set<string>) {
    this.#options = options
    this.#halves = halves
    this.#before = before
    this.#beforeUntil = Math.max(...halves.map(({ latest }) => latest))
  }

  /** Whether it is new; it is remembered from then on, for so long at least. @throws BridgeError log_unavailable: it may be remembered */
  remember(name: string, forMs: number): Promise<boolean> {
    if (this.#closed) return Promise.reject(new BridgeError('log_unavailable', 'the log is closed'))
    const now = this.#options.now()
    if (this.#beforeUntil <= now) this.#before.clear()
    const digest = createHash('sha256').update(name).digest()
    if (this.#before.has(toKey(digest))) return Promise.resolve(false)
    const until = now + forMs
    const { promise, resolve, reject } = Promise.withResolvers<boolean>()
    this.#waiting.push({ row: toRow(digest, until), until, resolve, reject })
    this.#running ??= this.#run()
    return promise
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#running
    for (const { file } of this.#halves) await file?.close()
  }

  /** Never rejects: whoever waits is told. */
  async #run(): Promise<void> {
    // `#running` is set before anything can end the loop, and what is asked for in one turn is written together.
    await undefined
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      try {
        await this.#write(group)
        for (const { resolve } of group) resolve(true)
      } catch (error) {
        const refusal = new BridgeError('log_unavailable', `the data folder cannot be written to: ${reasonOf(error)}`, { cause: error })
        for (const { reject } of group) reject(refusal)
      }
    }
    this.#running = undefined
  }

  async #write(group: readonly Waiting[]): Promise<void> {
    const half = await this.#half()
    half.file ??= await openHalf(half.path)
    const bytes = Buffer.concat(group.map(({ row }) => row))
    // Before it is written: whatever comes of it, the names may stand there.
    half.latest = Math.max(half.latest, ...group.map(({ until }) => until))
    // To its place, so that what a write has left that failed is overwritten by the next.
    await writeAll(half.file, bytes, half.rows * rowBytes)
    if (this.#options.synced) await half.file.datasync()
    half.rows += group.length
  }

  /** Where to write: the other one as soon as all that stands there is over. So each has what comes in twice the longest time at most, and is emptied then. */
  async #half(): Promise<Half> {
    const [current, other] = this.#halves
    if (current.rows === 0 || other.latest > this.#options.now()) return current
    if (other.rows > 0) {
      other.file ??= await openHalf(other.path)
      await other.file.truncate(0)
      other.rows = 0
    }
    this.#halves = [other, current]
    return other
  }
}

/** Adds what is not over yet. Rows that are not whole were never promised to anybody; each stands for itself. */
async function readHalf(path: string, now: number, names: Set<string>): Promise<Half> {
  const bytes = await readFile(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return Buffer.alloc(0)
    throw error
  })
  const rows = Math.floor(bytes.length / rowBytes)
  let latest = 0
  for (let at = 0; at < rows * rowBytes; at += rowBytes) {
    const row = bytes.subarray(at, at + rowBytes)
    if (crc32(row.subarray(untilStart)) !== row.readUInt32BE(0)) continue
    const until = row.readDoubleBE(untilStart)
    if (until <= now) continue
    latest = Math.max(latest, until)
    names.add(toKey(row.subarray(nameStart)))
  }
  return { path, rows, latest }
}

async function openHalf(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
  try {
    await syncFolder(dirname(path))
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

function toRow(digest: Buffer, until: number): Buffer {
  const row = Buffer.allocUnsafe(rowBytes)
  row.writeDoubleBE(until, untilStart)
  digest.copy(row, nameStart)
  row.writeUInt32BE(crc32(row.subarray(untilStart)), 0)
  return row
}

/** A character a byte: half the memory of its hexadecimal text. */
const toKey = (digest: Buffer): string => digest.toString('latin1')
