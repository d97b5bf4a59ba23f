import type { Duplex } from 'node:stream'
import type { Stored } from '../core/entry.ts'
import { decodeRecord, draftRecord, sealRecord } from '../log/record.ts'

// A frame, big-endian: 0 length of what follows (u32) | 4 kind (u8) | 5 body. Entries travel as records of the log, each behind its length (u32):
// volatile ones stand nowhere else.
const headBytes = 5
const entriesKind = 1
const messageKind = 2

/** What comes out of a channel. */
export interface ChannelListener<Message> {
  entries(entries: readonly Stored[]): void
  message(message: Message): void
}

/** Encoded once, for as many channels as there are. */
export function entriesFrame(entries: readonly Stored[]): Buffer {
  const parts: Buffer[] = []
  for (const { entry, was, position, time } of entries) {
    const record = sealRecord(draftRecord(entry, was), position, time)
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32BE(record.length)
    parts.push(length, record)
  }
  return frame(entriesKind, Buffer.concat(parts))
}

export function messageFrame(message: object): Buffer {
  return frame(messageKind, Buffer.from(JSON.stringify(message)))
}

function frame(kind: number, body: Buffer): Buffer {
  const head = Buffer.allocUnsafe(headBytes)
  head.writeUInt32BE(body.length + 1)
  head[4] = kind
  return Buffer.concat([head, body])
}

/** Frames over a stream, in order; what is sent in one turn leaves in one write. Whoever holds the stream hears of its end. */
export class Channel<In extends object, Out extends object> {
  readonly #stream: Duplex
  readonly #listener: ChannelListener<In>
  #chunks: Buffer[] = []
  #length = 0
  #corked = false

  constructor(stream: Duplex, listener: ChannelListener<In>) {
    this.#stream = stream
    this.#listener = listener
    stream.on('data', (chunk: Buffer) => this.#take(chunk))
  }

  /** What the other side has not taken. */
  get backlogBytes(): number {
    return this.#stream.writableLength
  }

  send(message: Out): void {
    this.write(messageFrame(message))
  }

  write(frame: Buffer): void {
    if (!this.#stream.writable) return
    if (!this.#corked) {
      this.#corked = true
      this.#stream.cork()
      process.nextTick(() => this.flush())
    }
    this.#stream.write(frame)
  }

  /** What was sent so far leaves now, before anything else that is done in this turn. */
  flush(): void {
    if (!this.#corked) return
    this.#corked = false
    this.#stream.uncork()
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    while (this.#length >= 4) {
      const first = this.#join(4)
      const end = 4 + first.readUInt32BE(0)
      if (this.#length < end) return
      const bytes = this.#join(end)
      const rest = bytes.subarray(end)
      this.#chunks = rest.length === 0 ? [] : [rest]
      this.#length = rest.length
      this.#handle(bytes[4], bytes.subarray(headBytes, end))
    }
  }

  /** The first chunk, made to hold so many bytes at least. */
  #join(bytes: number): Buffer {
    const [first] = this.#chunks
    if (first !== undefined && first.length >= bytes) return first
    const joined = Buffer.concat(this.#chunks)
    this.#chunks = [joined]
    return joined
  }

  #handle(kind: number | undefined, body: Buffer): void {
    if (kind === entriesKind) this.#listener.entries(decodeEntries(body))
    // Only our own processes write here.
    else this.#listener.message(JSON.parse(body.toString()) as In)
  }
}

function decodeEntries(body: Buffer): readonly Stored[] {
  const entries: Stored[] = []
  for (let at = 0; at < body.length; ) {
    const end = at + 4 + body.readUInt32BE(at)
    entries.push(decodeRecord(body.subarray(at + 4, end)))
    at = end
  }
  return entries
}
