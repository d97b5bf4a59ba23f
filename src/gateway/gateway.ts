import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket as TcpSocket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { Server, type Socket } from 'socket.io'
import { Encoder } from 'socket.io-parser'
import { type ServerOptions as WebSocketOptions, WebSocketServer } from 'ws'
import type { EventEntry, Stored } from '../core/entry.ts'
import type { Observer } from '../core/observer.ts'
import { Session } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import { SocketConnection } from './connection.ts'
import { GuardedDecoder } from './decoder.ts'
import { cut, type Engine, farewellMs, limitFarewell } from './engine.ts'
import { encodeFrame, type Frame } from './frame.ts'
import { type Admission, createHandshake, type HandshakeOptions } from './handshake.ts'
import { answerRequests } from './requests.ts'
import { forgetRequest } from './token-source.ts'

/** The longest thing a client may send: a token and some words around it. */
const maxClientBytes = 16 * 1024

/** How long a request may take to arrive. */
const requestMs = 30_000

/** Characters of a refused origin that are worth a line in the log; anybody may send any. */
const maxLoggedOrigin = 200

/** How often sessions are looked at whose token may have expired. */
const sweepMs = 1000

export interface GatewayOptions extends Omit<HandshakeOptions, 'draining'> {
  readonly transports: readonly ('websocket' | 'polling')[]
  /** Exact origins. A request without an Origin does not come from a page of somebody else and is let through. */
  readonly allowedOrigins: readonly string[]
  readonly serveClient: boolean
  readonly maxBufferBytes: number
  readonly clockToleranceMs: number
  readonly pingIntervalMs: number
  readonly pingTimeoutMs: number
  readonly connectTimeoutMs: number
  /**
   * For one of several processes behind one port, which gets its connections by `take`: what the ids of its connections begin with, so that all requests of
   * one find their way to it. Absent: the port is its own.
   */
  readonly idPrefix?: string
  readonly observer: Observer
  readonly onFailure: (error: unknown) => void
  readonly now: () => number
}

/** The Socket.IO edge: browsers with login tokens on one side, the hub on the other. */
export class Gateway {
  readonly #options: GatewayOptions
  /** The public listener, for whoever opens it. */
  readonly server: HttpServer
  readonly #io: Server
  /** All connections, also those that nobody has logged in on. */
  readonly #engines = new Set<Engine>()
  #draining = false
  #sweeper: NodeJS.Timeout | undefined
  /** The event encoded last: a fan-out sends the same one to many sessions in a row. */
  #encoded: { readonly event: Stored<EventEntry>; readonly frame: Frame } | undefined

  constructor(options: GatewayOptions) {
    this.#options = options
    this.server = createServer({ headersTimeout: requestMs, requestTimeout: requestMs }, refuseOther)
    // Without connectionStateRecovery: it restores rooms and events before any middleware has seen the token. Ours resumes after it, from the log.
    this.#io = new Server(this.server, {
      serveClient: options.serveClient,
      transports: [...options.transports],
      allowRequest: (request, decide) => {
        const refusal = this.#refusalOf(request)
        if (refusal !== undefined) options.observer.handshakeRefused(refusal.code)
        if (refusal?.code === 'origin_denied') options.onRefused(refusal, request.socket.remoteAddress ?? '')
        decide(refusal?.code, refusal === undefined)
      },
      ...(options.allowedOrigins.length > 0 ? { cors: { origin: [...options.allowedOrigins], credentials: true } } : {}),
      maxHttpBufferSize: maxClientBytes,
      connectTimeout: options.connectTimeoutMs,
      pingInterval: options.pingIntervalMs,
      pingTimeout: options.pingTimeoutMs,
      perMessageDeflate: false,
      httpCompression: false,
      wsEngine: LimitedWebSocketServer,
      parser: { Encoder, Decoder: GuardedDecoder },
    })
    const { idPrefix } = options
    if (idPrefix !== undefined) {
      // A connection that a proxy keeps may carry a request of another session next, which belongs elsewhere.
      this.server.maxRequestsPerSocket = 1
      this.server.prependListener('request', (_request, response) => response.setHeader('Connection', 'close'))
      this.#io.engine.generateId = () => `${idPrefix}${randomBytes(15).toString('base64url')}`
      // The timeouts of requests are checked from here on, also without a listener of its own.
      this.server.emit('listening')
    }
    this.#io.engine.on('headers', (_headers: unknown, request: IncomingMessage) => {
      // A client sends its token with each request, and Engine.IO keeps the one that became a WebSocket. The first one is read by the handshake.
      if (hasParameter(request, 'sid')) process.nextTick(forgetRequest, request)
    })
    this.#io.engine.on('connection', (engine: Engine) => {
      limitFarewell(engine)
      this.#engines.add(engine)
      engine.once('close', () => this.#engines.delete(engine))
    })
    this.#io.use(createHandshake({ ...options, draining: () => this.#draining }))
    this.#io.on('connection', (socket) => {
      try {
        this.#connect(socket)
      } catch (error) {
        // Socket.IO calls this in a turn of its own, where what is thrown ends the process. The client comes back.
        options.onFailure(error)
        socket.conn.close()
      }
    })
  }

  /** To be called when `server` listens. */
  start(): void {
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs)
  }

  /** How many connections there are, also of those who have not logged in. */
  get connections(): number {
    return this.#engines.size
  }

  /** Takes over a connection that somebody else has accepted, with what its client has sent so far. */
  take(socket: TcpSocket, head: Buffer): void {
    socket.allowHalfOpen = true
    socket.unshift(head)
    this.server.emit('connection', socket)
  }

  /** Refuses newcomers and closes the sessions, spread over a period, so that their clients come back elsewhere and not all at once. */
  async drain(periodMs: number): Promise<void> {
    this.#draining = true
    const sessions = [...this.#options.hub.sessions()]
    const steps = Math.max(1, Math.min(sessions.length, Math.ceil(periodMs / 50)))
    for (let step = 0; step < steps; step++) {
      for (let index = step; index < sessions.length; index += steps) sessions[index]?.connection.close('draining')
      if (step + 1 < steps) await setTimeout(periodMs / steps)
    }
  }

  /** Ends every connection and the listener. */
  async close(): Promise<void> {
    this.#draining = true
    clearInterval(this.#sweeper)
    for (const session of this.#options.hub.sessions()) session.connection.close('draining')
    // While the listener is still open: one that polls comes once more for what it is told.
    const leaving = [...this.#engines].filter(({ readyState }) => readyState === 'closing').map((engine) => once(engine, 'close'))
    await Promise.race([Promise.all(leaving), setTimeout(farewellMs, undefined, { ref: false })])
    const closed = new Promise((resolve) => this.server.close(resolve))
    for (const engine of this.#engines) cut(engine)
    this.#io.engine.close()
    this.server.closeAllConnections()
    await closed
  }

  #refusalOf(request: IncomingMessage): BridgeError | undefined {
    const { origin } = request.headers
    if (this.#draining) return new BridgeError('draining')
    // JSONP, which Engine.IO still speaks, is how a page reads where it has no right to: its requests carry no Origin.
    if (hasParameter(request, 'j')) return new BridgeError('origin_denied', 'the request is JSONP, which has no origin')
    // CORS does not protect WebSocket: any page may open one, and the browser adds the cookies of the user.
    if (origin === undefined || this.#options.allowedOrigins.includes(origin)) return undefined
    return new BridgeError('origin_denied', `the origin ${origin.slice(0, maxLoggedOrigin)} is not in SIDECAST_ALLOWED_ORIGINS`)
  }

  #connect(socket: Socket): void {
    const { hub, observer, now } = this.#options
    const { identity, session: id, ...resume }: Admission = socket.data
    const connection: SocketConnection = new SocketConnection(socket, {
      forwarded: {},
      offsetOf: (position) => hub.offsetOf(position),
      position: resume.after ?? 0,
      maxBufferBytes: this.#options.maxBufferBytes,
      encodeEvent: (event) => this.#encode(event),
      onEnd: (end) => {
        hub.detach(session)
        observer.sessionClosed(end)
      },
    })
    const session: Session = new Session(id, identity, connection, now())
    answerRequests(socket, session, hub, this.#options)
    hub.attach(session, resume)
  }

  #encode(event: Stored<EventEntry>): Frame {
    if (this.#encoded?.event !== event) {
      this.#encoded = { event, frame: encodeFrame(event.entry.event, event.entry.data, this.#options.hub.offsetOf(event.position)) }
    }
    return this.#encoded.frame
  }

  /** One sweep instead of a timer per session: timers beyond 24.8 days fire at once, and fifty thousand of them cost memory. */
  #sweep(): void {
    const expired = this.#options.now() - this.#options.clockToleranceMs
    for (const { identity, connection } of this.#options.hub.sessions()) {
      if (identity.expiresAt !== undefined && identity.expiresAt <= expired) connection.close('expired')
    }
  }
}

function hasParameter({ url = '' }: IncomingMessage, name: string): boolean {
  return new URLSearchParams(url.slice(url.indexOf('?') + 1)).has(name)
}

/** Our own `ws`, for the limits that engine.io does not pass on: a client that pings and does not read, or sends in crumbs, holds memory. */
class LimitedWebSocketServer extends WebSocketServer {
  constructor(options: WebSocketOptions) {
    const limits = { maxPendingAutoPongs: 8, maxFragments: 64, maxBufferedChunks: 1024 }
    super({ ...options, ...limits })
  }
}

/** Nothing but Socket.IO lives on the public listener. */
function refuseOther(_request: IncomingMessage, response: ServerResponse): void {
  const { code, status, text } = new BridgeError('not_found')
  response.writeHead(status, { 'content-type': 'application/problem+json', 'x-content-type-options': 'nosniff' })
  const detail = 'This is the port for browsers; publish to the private listener (SIDECAST_PRIVATE_PORT).'
  response.end(JSON.stringify({ type: `urn:sidecast:error:${code}`, title: text, status, detail, code }))
}
