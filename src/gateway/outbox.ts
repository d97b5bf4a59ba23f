import { type Engine, tcpOf } from './engine.ts'
import type { Frame } from './frame.ts'

/** With this much waiting, a session that reads from the log pauses until the client has taken some. */
const highWaterBytes = 64 * 1024

/** So much more may wait than two times the events' share: what the server itself says of rooms, and answers. */
const wordsBytes = 512 * 1024

/** A client that takes not a byte for so long while something waits is cut off; it comes back and resumes. */
const stallMs = 5000

/**
 * What waits to be written to one connection. Engine.IO keeps what it cannot write for as long as it likes; this counts it,
 * whoever wrote it (a client that asks for answers and does not read them holds memory like one that does not read events).
 */
export class Outbox {
  readonly #engine: Engine
  readonly #maxBytes: number
  readonly #onStall: () => void
  /** Characters (about bytes) given to the engine and not yet to the transport. */
  #queued = 0
  /** Given to the transport in its last batch. */
  #inFlight = 0

  constructor(engine: Engine, maxBytes: number, onStall: () => void) {
    this.#engine = engine
    this.#maxBytes = maxBytes
    this.#onStall = onStall
    engine.on('packetCreate', (packet: { readonly data?: unknown }) => {
      this.#queued += typeof packet.data === 'string' ? packet.data.length : 0
      // Events stop at `full`, the last of them may be as large as what waited before it; what grows beyond are answers that nobody reads.
      if (this.#waiting > 2 * this.#maxBytes + wordsBytes) onStall()
    })
    engine.on('flush', () => {
      this.#inFlight = this.#queued
      this.#queued = 0
    })
  }

  /** A transport takes a new batch only when the last one has left. */
  get #waiting(): number {
    return this.#queued + (this.#engine.transport.writable ? 0 : this.#inFlight)
  }

  /** No more should be sent but what the client makes room for. */
  get full(): boolean {
    return this.#waiting >= this.#maxBytes
  }

  send({ packet, options }: Frame): void {
    // Engine.IO types its options by what users may pass; this one is the adapter's own (engine.io 6.6).
    this.#engine.write(packet, options as object)
  }

  /** Resolves when there is room again or the connection has closed; undefined when there is room now. */
  room(): Promise<void> | undefined {
    if (this.#queued === 0 || this.#waiting < highWaterBytes) return undefined
    const engine = this.#engine
    // The system's own clock of a connection sees a batch move that has not left as a whole: who reads slowly is not cut off.
    // A long-polling client takes a batch with each request; the ping timeout waits for the next one.
    const tcp = tcpOf(engine)
    return new Promise((resolve) => {
      tcp?.setTimeout(stallMs).on('timeout', this.#onStall)
      const done = (): void => {
        tcp?.setTimeout(0).off('timeout', this.#onStall)
        engine.off('flush', done)
        engine.off('close', done)
        resolve()
      }
      engine.on('flush', done)
      engine.on('close', done)
    })
  }
}
