import type { Socket } from 'socket.io'
import type { EventEntry, Stored } from '../core/entry.ts'
import type { Notice } from '../core/notice.ts'
import type { SessionEnd } from '../core/observer.ts'
import type { Connection, Forwarded } from '../core/session.ts'
import { BridgeError, type ErrorCode } from '../errors.ts'
import { cut, farewellMs } from './engine.ts'
import { encodeFrame, type Frame } from './frame.ts'
import { Outbox, type OutboxOptions } from './outbox.ts'
import { toAnswer } from './refusal.ts'

/** What the client is told before the server ends its session; absent: there is nobody, or no room, to tell. */
const farewells: Readonly<Record<SessionEnd, ErrorCode | undefined>> = {
  client: undefined,
  transport: undefined,
  protocol: undefined,
  slow_consumer: undefined,
  expired: 'token_expired',
  disconnected: 'disconnected',
  revoked: 'token_revoked',
  replaced: 'session_replaced',
  draining: 'draining',
}

/** The same for all of them: what each has of its own is memory that idle sessions take. */
export interface ConnectionOptions extends OutboxOptions {
  /** A position as clients see it. */
  readonly offsetOf: (position: number) => string
  /** The same frames for the same events: sessions that get the same ones share what is written. */
  readonly encodeEvents: (events: readonly Stored<EventEntry>[]) => readonly Frame[]
}

interface Beginning {
  readonly forwarded: Forwarded
  /** The place in the log that the client has seen already. */
  readonly position: number
  /** Called once, also when the client or the network ended it. */
  readonly onEnd: (end: SessionEnd) => void
}

/** A session's line over Socket.IO. States: open -> ended; whatever ends it first is the reason that is told. */
export class SocketConnection implements Connection {
  readonly forwarded: Forwarded
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #outbox: Outbox
  readonly #onEnd: (end: SessionEnd) => void
  #position: number
  #ended = false

  constructor(socket: Socket, { forwarded, position, onEnd }: Beginning, options: ConnectionOptions) {
    this.forwarded = forwarded
    this.#socket = socket
    this.#options = options
    this.#onEnd = onEnd
    this.#position = position
    this.#outbox = new Outbox(socket.conn, this, options)
    socket.on('disconnect', (reason) => {
      this.#end(reason === 'client namespace disconnect' ? 'client' : 'transport')
      // Leaving the namespace alone would keep the engine connection open for ever.
      socket.conn.close()
      if (reason === 'client namespace disconnect') setTimeout(() => cut(socket.conn), farewellMs).unref()
    })
  }

  get transport(): string {
    return this.#socket.conn.transport.name
  }

  send(events: readonly Stored<EventEntry>[]): void {
    this.#write(this.#options.encodeEvents(events), events.at(-1)?.position ?? this.#position)
  }

  notify({ event, data }: Notice, position = this.#position): void {
    this.#write([encodeFrame(event, JSON.stringify(data), this.#options.offsetOf(position))], position)
  }

  #write(frames: readonly Frame[], position: number): void {
    if (this.#ended) return
    try {
      this.#outbox.send(frames)
      this.#position = position
    } catch {
      // One broken line must not keep the event from the others; its client comes back and resumes.
      this.close('transport')
    }
  }

  get full(): boolean {
    return !this.#ended && this.#outbox.full
  }

  room(): Promise<void> | undefined {
    return this.#ended ? undefined : this.#outbox.room()
  }

  stalled(): void {
    this.close('slow_consumer')
  }

  broken(): void {
    this.close('transport')
  }

  close(end: SessionEnd): void {
    if (!this.#end(end)) return
    const code = farewells[end]
    if (code === undefined) {
      cut(this.#socket.conn)
      return
    }
    // With the offset that the client has: a later one would let it skip what it did not get.
    const data = JSON.stringify(toAnswer(new BridgeError(code)))
    this.#outbox.send([encodeFrame('sidecast:disconnect', data, this.#options.offsetOf(this.#position))])
    // Before the WebSocket is closed: nothing may follow its last frame.
    this.#outbox.flush()
    // A stock client comes back after a lost connection and stays away after a disconnect packet. One that was replaced would take the session back,
    // and so on without end.
    if (end === 'disconnected' || end === 'revoked' || end === 'replaced') this.#socket.disconnect(true)
    else this.#socket.conn.close()
    setTimeout(() => cut(this.#socket.conn), farewellMs).unref()
  }

  #end(end: SessionEnd): boolean {
    if (this.#ended) return false
    this.#ended = true
    this.#onEnd(end)
    return true
  }
}
