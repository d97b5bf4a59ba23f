import type { Backlog, Pressure } from '../core/pressure.ts'
import type { Batch } from './batch.ts'
import type { Engine } from './engine.ts'
import type { Frame } from './frame.ts'
import { Line } from './line.ts'
import type { Tick } from './tick.ts'
import type { WriteWay } from './write-way.ts'

/** With this much waiting, a session that reads from the log pauses until the client has taken some. */
const highWaterBytes = 64 * 1024

/** So much more may wait than two times the events' share: what the server itself says of rooms, and answers. */
const wordsBytes = 512 * 1024

/** A client that takes not a byte for so long while something waits is cut off; it comes back and resumes. */
const stallMs = 5000

/** The same for all of them. */
export interface OutboxOptions {
  readonly tick: Tick
  /** Told of what does not leave at once. */
  readonly pressure: Pick<Pressure, 'report'>
  readonly maxBufferBytes: number
  readonly writeWay: WriteWay
}

/** Whose outbox it is. */
interface OutboxOwner {
  /** The client takes nothing, or not enough. */
  stalled(): void
  /** The connection cannot be written to. */
  broken(): void
}

/**
 * What waits to be written to one connection. Frames of one tick leave in one write, straight to the TCP connection where there is such a line and it is free;
 * else through Engine.IO, in order. Engine.IO keeps what it cannot write for as long as it likes; this counts it, whoever wrote it (a client that asks for
 * answers and does not read them holds memory like one that does not read events).
 */
export class Outbox implements Backlog {
  readonly #engine: Engine
  readonly #owner: OutboxOwner
  readonly #options: OutboxOptions
  /** Absent: long-polling, until it is upgraded. */
  #line: Line | undefined
  /** All that Engine.IO has is older, and it gets nothing more before this is written: so either way keeps the order, whichever is open by then. */
  #batch: Batch | undefined
  /** Characters (about bytes) given to the engine and not yet to the transport. */
  #queued = 0
  /** Given to the transport in its last batch. */
  #inFlight = 0
  #written = 0

  constructor(engine: Engine, owner: OutboxOwner, options: OutboxOptions) {
    this.#engine = engine
    this.#owner = owner
    this.#options = options
    this.#line = Line.under(engine, options.writeWay)
    engine.on('upgrade', () => {
      this.#line = Line.under(engine, options.writeWay)
    })
    engine.on('packetCreate', (packet: { readonly data?: unknown }) => {
      // What Engine.IO writes comes behind what was sent before it.
      this.flush()
      const length = typeof packet.data === 'string' ? packet.data.length : 0
      this.#queued += length
      this.#written += length
      if (length > 0) options.pressure.report(this)
      // Events stop at `full`, the last of them may be as large as what waited before it; what grows beyond are answers that nobody reads.
      if (this.#waiting > 2 * options.maxBufferBytes + wordsBytes) owner.stalled()
    })
    engine.on('flush', () => {
      this.#inFlight = this.#queued
      this.#queued = 0
    })
  }

  get #waiting(): number {
    const line = this.#line
    if (line !== undefined) return this.#queued + (this.#batch?.bytes ?? 0) + line.tcp.writableLength
    // A transport takes a new batch only when the last one has left.
    return this.#queued + (this.#engine.transport.writable ? 0 : this.#inFlight)
  }

  get waitingBytes(): number {
    return this.#engine.readyState === 'closed' ? 0 : this.#waiting
  }

  get writtenBytes(): number {
    return this.#written
  }

  cut(): void {
    this.#owner.stalled()
  }

  /** No more should be sent but what the client makes room for. */
  get full(): boolean {
    if (this.#waiting < this.#options.maxBufferBytes) return false
    this.flush()
    return this.#waiting >= this.#options.maxBufferBytes
  }

  /** Whoever gets the same frames is to be given the same array. */
  send(frames: readonly Frame[]): void {
    const batch = this.#batch
    if (batch !== undefined) this.#batch = batch.with(frames)
    else if (this.#line !== undefined) this.#batch = this.#options.tick.begin(this, frames)
    else for (const frame of frames) this.#sendByEngine(frame)
    if (this.#batch !== undefined && this.#batch.bytes >= highWaterBytes) this.flush()
  }

  /** Writes what has come together in this tick. */
  flush(): void {
    const batch = this.#batch
    if (batch === undefined) return
    this.#batch = undefined
    try {
      const line = this.#line
      if (line?.free === true) {
        line.write(batch.buffer)
        this.#written += batch.bytes
        if (line.tcp.writableLength > 0) this.#options.pressure.report(this)
      } else for (const frame of batch.frames) this.#sendByEngine(frame)
    } catch {
      this.#owner.broken()
    }
  }

  #sendByEngine({ packet, options }: Frame): void {
    // Engine.IO types its options by what users may pass; this one is the adapter's own (engine.io 6.6).
    this.#engine.write(packet, options as object)
  }

  /** Resolves when there is room again or the connection has closed; undefined when there is room now. */
  room(): Promise<void> | undefined {
    if (this.#waiting < highWaterBytes) return undefined
    this.flush()
    const engine = this.#engine
    const tcp = this.#line?.tcp
    // Without either of them nothing would tell of room: what waits is the transport's last batch, and there is room behind it.
    if ((this.#queued === 0 && tcp?.writableNeedDrain !== true) || this.#waiting < highWaterBytes) return undefined
    // The system's own clock of a connection sees a batch move that has not left as a whole: who reads slowly is not cut off.
    // A long-polling client takes a batch with each request; the ping timeout waits for the next one.
    return new Promise((resolve) => {
      const onStall = (): void => this.#owner.stalled()
      tcp?.setTimeout(stallMs).on('timeout', onStall)
      const done = (): void => {
        tcp?.setTimeout(0).off('timeout', onStall).off('drain', done)
        engine.off('flush', done)
        engine.off('close', done)
        resolve()
      }
      tcp?.on('drain', done)
      engine.on('flush', done)
      engine.on('close', done)
    })
  }
}
