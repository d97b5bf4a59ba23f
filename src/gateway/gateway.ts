import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server as HttpServer, type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket as TcpSocket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { Server, type Socket } from 'socket.io'
import { Encoder } from 'socket.io-parser'
import { type ServerOptions as WebSocketOptions, WebSocketServer } from 'ws'
import type { Observer, SessionEnd } from '../core/observer.ts'
import type { Pressure } from '../core/pressure.ts'
import { Session } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import { type ClientAddress, createClientAddress } from './client-address.ts'
import { type ConnectionOptions, SocketConnection } from './connection.ts'
import { GuardedDecoder } from './decoder.ts'
import { type Drained, drain } from './drain.ts'
import { cut, type Engine, farewellMs, limitFarewell, tcpOf } from './engine.ts'
import { createEventEncoder } from './event-encoder.ts'
import { type Admission, createHandshake, type HandshakeOptions } from './handshake.ts'
import { type LimitOptions, Limits } from './limits.ts'
import { turnAway } from './refusal.ts'
import { answerRequests } from './requests.ts'
import { Tick } from './tick.ts'
import { forgetHandshake, forgetRequest } from './token-source.ts'
import { Turns } from './turns.ts'
import type { WriteWay } from './write-way.ts'

/** The longest thing a client may send: a token and some words around it. */
const maxClientBytes = 16 * 1024

/** How long a request may take to arrive. */
const requestMs = 30_000

/** Characters of a refused origin that are worth a line in the log; anybody may send any. */
const maxLoggedOrigin = 200

/** How often it is looked who has come to the end of a token: a token of five seconds has a notice that is worth having. */
const sweepMs = 250

/** Newcomers that wait for their turn: for half as long as the stock client has patience, and each takes less memory than the session that it is to be. */
const maxWaitMs = 10_000
const maxWaiting = 10_000

const overrun = new BridgeError('rate_limited', `${maxWaiting} newcomers wait for their turn, or one has waited for ${maxWaitMs / 1000} s`)

export interface GatewayOptions extends Omit<HandshakeOptions, 'draining' | 'limits' | 'turns' | 'addressOf'>, Omit<LimitOptions, 'now'> {
  /** Addresses and CIDR, `loopback`, `private`: whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[]
  readonly transports: readonly ('websocket' | 'polling')[]
  /** Exact origins. A request without an Origin does not come from a page of somebody else and is let through. */
  readonly allowedOrigins: readonly string[]
  readonly serveClient: boolean
  readonly maxBufferBytes: number
  /** Looked after from here: counted several times a second. */
  readonly pressure: Pressure
  readonly writeWay: WriteWay
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
  readonly #limits: Limits
  readonly #addressOf: ClientAddress
  readonly #turns = new Turns({ maxWaitMs, maxWaiting, now: () => performance.now() })
  readonly #ofConnections: ConnectionOptions
  /** All connections, also those that nobody has logged in on, and where their clients are. */
  readonly #engines = new Map<Engine, string>()
  #draining = false
  #sweeper: NodeJS.Timeout | undefined

  constructor(options: GatewayOptions) {
    this.#options = options
    this.#limits = new Limits(options)
    this.#ofConnections = {
      maxBufferBytes: options.maxBufferBytes,
      pressure: options.pressure,
      writeWay: options.writeWay,
      tick: new Tick(),
      offsetOf: (position) => options.hub.offsetOf(position),
      encodeEvents: createEventEncoder((position) => options.hub.offsetOf(position)),
    }
    this.#addressOf = createClientAddress(options.trustedProxies)
    this.server = createServer({ headersTimeout: requestMs, requestTimeout: requestMs }, refuseOther)
    // While its turn has not come nobody listens to an upgraded socket, and an error that nobody hears ends the process.
    this.server.on('upgrade', (_request, socket) => socket.on('error', () => undefined))
    // Without connectionStateRecovery: it restores rooms and events before any middleware has seen the token. Ours resumes after it, from the log.
    this.#io = new Server(this.server, {
      serveClient: options.serveClient,
      transports: [...options.transports],
      allowRequest: (request, decide) => {
        const address = this.#addressOf(request)
        const refuse = (refusal: BridgeError): void => {
          options.observer.handshakeRefused(refusal.code)
          if (refusal.status === 403 || refusal.status === 429) options.onRefused(refusal, address)
          turnAway(request, refusal)
        }
        const refusal = this.#refusalOf(request, address)
        if (refusal !== undefined) refuse(refusal)
        else if (!this.#turns.offer(() => decide(undefined, !request.socket.destroyed))) refuse(overrun)
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
    // Each socket would be put into a room of its own, which is memory for every session; rooms are the hub's, nothing is sent by those of Socket.IO.
    const { adapter, sockets } = this.#io.of('/')
    Object.assign(adapter, { addAll: (id: string) => holdBack(sockets.get(id)) })
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
    this.#io.engine.use((_request: IncomingMessage, response: object, next: () => void) => {
      // Engine.IO's stand-in for the answer to an upgrade listens for the end of the connection, and would keep the request until then.
      if (!(response instanceof ServerResponse)) setImmediate(() => Object.assign(response, { req: undefined }))
      next()
    })
    this.#io.engine.on('connection', (engine: Engine) => {
      limitFarewell(engine)
      const address = this.#addressOf(engine.request)
      this.#engines.set(engine, address)
      engine.once('close', () => {
        this.#engines.delete(engine)
        this.#limits.closed(address)
      })
      // Several may have been let through before the first of them was one.
      if (this.#limits.opened(address)) return
      options.observer.handshakeRefused('rate_limited')
      cut(engine)
    })
    const addressOf = (socket: Socket): string => this.#addressOfSocket(socket)
    this.#io.use(createHandshake({ ...options, addressOf, limits: this.#limits, turns: this.#turns, draining: () => this.#draining }))
    this.#io.on('connection', (socket) => {
      const tcp = tcpOf(socket.conn)
      try {
        this.#connect(socket)
      } catch (error) {
        // Socket.IO calls this in a turn of its own, where what is thrown ends the process. The client comes back.
        options.onFailure(error)
        socket.conn.close()
      } finally {
        // Behind the end of the tick, which has written the first events.
        queueMicrotask(() => tcp?.uncork())
      }
    })
  }

  /** To be called when `server` listens. */
  start(): void {
    this.#sweeper = setInterval(() => {
      try {
        this.#options.pressure.recount()
        this.#options.hub.expire()
      } catch (error) {
        this.#options.onFailure(error)
      }
    }, sweepMs)
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
  async drain(periodMs: number): Promise<Drained> {
    this.#draining = true
    return drain([...this.#options.hub.sessions()], periodMs, Math.random, ({ connection }) => connection.close('draining'))
  }

  /** Ends every connection and the listener. */
  async close(): Promise<void> {
    this.#draining = true
    clearInterval(this.#sweeper)
    this.#options.pressure.close()
    for (const session of this.#options.hub.sessions()) session.connection.close('draining')
    // While the listener is still open: one that polls comes once more for what it is told.
    const leaving = [...this.#engines.keys()].filter(({ readyState }) => readyState === 'closing').map((engine) => once(engine, 'close'))
    await Promise.race([Promise.all(leaving), setTimeout(farewellMs, undefined, { ref: false })])
    const closed = new Promise((resolve) => this.server.close(resolve))
    for (const engine of this.#engines.keys()) cut(engine)
    this.#io.engine.close()
    this.server.closeAllConnections()
    await closed
  }

  #refusalOf(request: IncomingMessage, address: string): BridgeError | undefined {
    const { origin } = request.headers
    if (this.#draining) return new BridgeError('draining')
    const limited = this.#limits.refusalOfLogin(address) ?? this.#limits.refusalOfConnection(address)
    if (limited !== undefined) return limited
    // JSONP, which Engine.IO still speaks, is how a page reads where it has no right to: its requests carry no Origin.
    if (hasParameter(request, 'j')) return new BridgeError('origin_denied', 'the request is JSONP, which has no origin')
    // CORS does not protect WebSocket: any page may open one, and the browser adds the cookies of the user.
    if (origin === undefined || this.#options.allowedOrigins.includes(origin)) return undefined
    return new BridgeError('origin_denied', `the origin ${origin.slice(0, maxLoggedOrigin)} is not in SIDECAST_ALLOWED_ORIGINS`)
  }

  #connect(socket: Socket): void {
    const { hub, observer, now } = this.#options
    const { identity, session: id, forwarded, ...resume }: Admission = socket.data
    const onEnd = (end: SessionEnd): void => {
      hub.detach(session)
      observer.sessionClosed(end)
    }
    const connection: SocketConnection = new SocketConnection(socket, { forwarded, position: resume.after ?? 0, onEnd }, this.#ofConnections)
    const session: Session = new Session(id, identity, connection, now())
    answerRequests(socket, session, this.#addressOfSocket(socket), this.#options)
    forgetHandshake(socket)
    hub.attach(session, resume)
  }

  #addressOfSocket({ conn, request }: Socket): string {
    return this.#engines.get(conn) ?? this.#addressOf(request)
  }
}

function hasParameter(request: IncomingMessage, name: string): boolean {
  // The query as Engine.IO (6.6) has parsed it, and goes by.
  const query: unknown = Reflect.get(request, '_query')
  if (typeof query === 'object' && query !== null) return Object.hasOwn(query, name)
  const { url = '' } = request
  return new URLSearchParams(url.slice(url.indexOf('?') + 1)).has(name)
}

/**
 * Called in the turn of the connection step, just before Socket.IO writes its CONNECT packet: what the session is told first leaves in one write with it.
 */
function holdBack(socket: Socket | undefined): void {
  if (socket !== undefined) tcpOf(socket.conn)?.cork()
}

/** Our own `ws`, for the limits that engine.io does not pass on: a client that pings and does not read, or sends in crumbs, holds memory. */
class LimitedWebSocketServer extends WebSocketServer {
  constructor(options: WebSocketOptions) {
    const limits = { maxPendingAutoPongs: 8, maxFragments: 64, maxBufferedChunks: 1024 }
    super({ ...options, ...limits })
  }

  /** The answer to the upgrade and Engine.IO's first packet, which it makes one microtask later, are one write. */
  override handleUpgrade(...upgrade: Parameters<WebSocketServer['handleUpgrade']>): void {
    const [, socket] = upgrade
    socket.cork()
    super.handleUpgrade(...upgrade)
    queueMicrotask(() => socket.uncork())
  }
}

/** Nothing but Socket.IO lives on the public listener. */
function refuseOther(_request: IncomingMessage, response: ServerResponse): void {
  const { code, status, text } = new BridgeError('not_found')
  response.writeHead(status, { 'content-type': 'application/problem+json', 'x-content-type-options': 'nosniff' })
  const detail = 'This is the port for browsers; publish to the private listener (SIDECAST_PRIVATE_PORT).'
  response.end(JSON.stringify({ type: `urn:sidecast:error:${code}`, title: text, status, detail, code }))
}
