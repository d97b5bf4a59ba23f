import type { Socket as TcpSocket } from 'node:net'
import { WebSocket } from 'ws'
import { type Engine, tcpOf } from './engine.ts'
import { kernelWrite, type TcpHandle, tcpHandleOf } from './kernel-write.ts'
import type { WriteWay } from './write-way.ts'

/** Fields of engine.io (6.6) that are its own affair. */
interface EngineFields {
  readonly writeBuffer: readonly unknown[]
  readonly upgrading: boolean
}

/** Fields of ws (8.23) that are its own affair. */
interface SenderFields {
  /** 0: nothing is being compressed or read, and nothing waits for that. */
  readonly _state: number
}

/**
 * The way past Engine.IO: whole WebSocket frames, straight to the TCP connection of a plain WebSocket without extensions. It relies on fields that are not
 * documented; where one is not there, or its version is another one (`WriteWay`), there is no line, and everything goes through Engine.IO.
 */
export class Line {
  readonly tcp: TcpSocket
  readonly #engine: Engine
  readonly #fields: EngineFields
  readonly #webSocket: WebSocket
  readonly #sender: SenderFields
  readonly #handle: TcpHandle | undefined

  private constructor(
    engine: Engine,
    fields: EngineFields,
    webSocket: WebSocket,
    sender: SenderFields,
    tcp: TcpSocket,
    handle: TcpHandle | undefined,
  ) {
    this.#engine = engine
    this.#fields = fields
    this.#webSocket = webSocket
    this.#sender = sender
    this.tcp = tcp
    this.#handle = handle
  }

  static under(engine: Engine, way: WriteWay): Line | undefined {
    if (way === 'engine') return undefined
    const tcp = tcpOf(engine)
    const webSocket: unknown = Reflect.get(engine.transport, 'socket')
    if (tcp === undefined || !(webSocket instanceof WebSocket) || webSocket.extensions !== '') return undefined
    const sender: unknown = Reflect.get(webSocket, '_sender')
    const fields: unknown = engine
    if (!isEngine(fields) || !isSender(sender)) return undefined
    return new Line(engine, fields, webSocket, sender, tcp, way === 'kernel' ? tcpHandleOf(tcp) : undefined)
  }

  /** Whether a frame that is written now comes behind all that Engine.IO and ws have been given, and before the end. */
  get free(): boolean {
    const fields = this.#fields
    return (
      fields.writeBuffer.length === 0 &&
      !fields.upgrading &&
      this.#engine.readyState === 'open' &&
      this.#webSocket.readyState === WebSocket.OPEN &&
      this.#sender._state === 0 &&
      this.tcp.writable
    )
  }

  /** To be called when it is free. What is corked waits with what stands before it. */
  write(bytes: Buffer): void {
    if (this.#handle === undefined || this.tcp.writableLength > 0 || this.tcp.writableCorked > 0) this.tcp.write(bytes)
    else kernelWrite(this.tcp, this.#handle, bytes)
  }
}

function isEngine(engine: unknown): engine is EngineFields {
  if (typeof engine !== 'object' || engine === null) return false
  return 'writeBuffer' in engine && Array.isArray(engine.writeBuffer) && 'upgrading' in engine && typeof engine.upgrading === 'boolean'
}

function isSender(sender: unknown): sender is SenderFields {
  return typeof sender === 'object' && sender !== null && '_state' in sender && typeof sender._state === 'number'
}
