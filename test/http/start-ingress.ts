import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Express } from 'express'
import { parse } from 'yaml'
import { type Scope, scopes } from '../../src/core/access.ts'
import { createDraftParser } from '../../src/core/draft.ts'
import { Hub } from '../../src/core/hub.ts'
import { Session } from '../../src/core/session.ts'
import { createAppServer, createHttpIngress, type HttpIngressOptions, limitUnanswered, setTimeouts } from '../../src/http/ingress.ts'
import { EmbeddedLog } from '../../src/log/embedded.ts'
import { EventLoopDelay } from '../../src/metrics/event-loop-delay.ts'
import { createMetrics } from '../../src/metrics/metrics.ts'

export const openapiText = readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8')
export const openapi: object = parse(openapiText)

export const keyOf = (scope: Scope): string => keys[scope]
const keys: Readonly<Record<Scope, string>> = { publish: randomKey(), read: randomKey(), admin: randomKey() }
/** A key with all scopes. */
export const fullKey = randomKey()

function randomKey(): string {
  return randomBytes(32).toString('base64url')
}

export interface Ingress {
  readonly app: Express
  readonly url: string
  readonly port: number
  readonly server: Server
  readonly log: EmbeddedLog
  readonly hub: Hub
  readonly failures: readonly unknown[]
  /** Connects a session of this user, in these rooms; gives its id. */
  attach(user: string, rooms?: readonly string[]): string
  drain(): void
  /** Calls with the full key, unless the headers say otherwise. */
  call(method: string, path: string, init?: { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> }): Promise<Answered>
  /** A connection for what no HTTP client would send. */
  raw(): Promise<RawConnection>
  [Symbol.asyncDispose](): Promise<void>
}

interface Answered {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: Readonly<Record<string, unknown>> & { readonly code?: string; readonly errors?: readonly { pointer: string; detail: string }[] }
}

/** The ingress on a hub and an embedded log of its own, on a free port. */
export async function startIngress(overrides: Partial<HttpIngressOptions> = {}): Promise<Ingress> {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-http-'))
  const failures: unknown[] = []
  const onFailure = (error: unknown) => void failures.push(error)
  const log = await EmbeddedLog.open({
    directory,
    durability: 'process',
    retentionAgeMs: 300_000,
    retentionEvents: 10_000,
    dedupeWindowMs: 300_000,
    now: Date.now,
    onFailure,
  })
  const eventLoop = new EventLoopDelay()
  const metrics = createMetrics({ sessions: () => hub.sessions().size, unackedMessages: () => 0, eventLoop, canaryAgeMs: () => 0, onFailure })
  const hub = new Hub({
    log,
    observer: metrics.observer,
    now: Date.now,
    newId: randomUUID,
    retentionAgeMs: 300_000,
    maxRoomsPerSession: 100,
    revocationAgeMs: 3_600_000,
    clockToleranceMs: 0,
  })
  let draining = false
  const maxEventBytes = overrides.maxEventBytes ?? 262_144
  const app = createHttpIngress({
    hub,
    parseDraft: createDraftParser(openapi, { maxEventBytes }),
    openapi,
    openapiText,
    apiKeys: () => [
      ...scopes.map((scope) => ({ name: `${scope} only`, sha256: sha256(keys[scope]), scopes: [scope] })),
      { name: 'full', sha256: sha256(fullKey), scopes },
    ],
    signingKeys: [],
    rememberRequest: (content, forMs) => log.remember(content, forMs),
    now: Date.now,
    maxEventBytes,
    maxBatchBytes: 16 * 1024 * 1024,
    metrics,
    metricsKey: false,
    readiness: () => [{ name: 'log', ...(log.health().appendable ? {} : { failure: 'the log cannot be appended to' }) }],
    startup: () => [],
    draining: () => draining,
    observer: metrics.observer,
    onFailure,
    ...overrides,
  })
  const server = createAppServer(app)
  setTimeouts(server)
  limitUnanswered(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return {
    app,
    url,
    port,
    server,
    log,
    hub,
    failures,
    attach(user, rooms = []) {
      const connection = {
        transport: 'websocket',
        forwarded: {},
        full: false,
        room: () => undefined,
        send: () => {},
        notify: () => {},
        close: () => {},
      }
      const session = new Session(randomBytes(15).toString('base64url'), { user, rooms, grants: [] }, connection, Date.now())
      hub.attach(session, {})
      return session.id
    },
    drain() {
      draining = true
    },
    async call(method, path, { body, headers = {} } = {}) {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Bearer ${fullKey}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body) }),
      })
      const text = await response.text()
      const json = response.headers.get('content-type')?.includes('json') && text.startsWith('{') && !text.includes('}\n') ? JSON.parse(text) : {}
      return { status: response.status, headers: response.headers, text, json }
    },
    raw: () => openRaw(port),
    async [Symbol.asyncDispose]() {
      eventLoop.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await log.close()
      await rm(directory, { recursive: true })
    },
  }
}

function sha256(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

/** The beginning of a request with the full key. */
export function head(method: string, path: string, headers: Readonly<Record<string, string | number>> = {}): string {
  const lines = Object.entries({ host: 'ingress', authorization: `Bearer ${fullKey}`, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

interface RawConnection {
  readonly socket: Socket
  /** What has come so far. */
  received(): string
  /** Resolves when what has come matches, or rejects when the connection closes before. */
  until(pattern: RegExp): Promise<string>
  closed: Promise<void>
}

async function openRaw(port: number): Promise<RawConnection> {
  const socket = connect(port, '127.0.0.1')
  let received = ''
  let check = () => {}
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  socket
    .on('error', () => {})
    .on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
      check()
    })
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  return {
    socket,
    received: () => received,
    closed,
    until: (pattern) =>
      new Promise((resolve, reject) => {
        check = () => {
          if (pattern.test(received)) resolve(received)
        }
        check()
        void closed.then(() => reject(new Error(`closed after: ${received.slice(0, 500)}`)))
      }),
  }
}
