import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { Logger } from 'pino'
import { parse } from 'yaml'
import { AmqpIngress } from './amqp/ingress.ts'
import { createMessageParser } from './amqp/message.ts'
import { createAmqpJournal } from './amqp-journal.ts'
import { toIdentity } from './auth/claims.ts'
import { createIntrospectedReader } from './auth/introspected.ts'
import { createTokenVerifier } from './auth/tokens.ts'
import { createBackend } from './backend/backend.ts'
import { createBackendJournal } from './backend-journal.ts'
import { createCallers } from './callers.ts'
import type { Config } from './config/config.ts'
import { createDraftParser } from './core/draft.ts'
import type { Check } from './core/health.ts'
import { Hub } from './core/hub.ts'
import { createRevocationParser } from './core/revocation-request.ts'
import { BridgeError } from './errors.ts'
import { Gateway } from './gateway/gateway.ts'
import { createPids } from './gateway/pid.ts'
import { createHttpIngress, setTimeouts } from './http/ingress.ts'
import { EmbeddedLog } from './log/embedded.ts'
import { createLogin } from './login.ts'
import { createMetrics } from './metrics/metrics.ts'
import { createRefusalLog } from './refusal-log.ts'
import { createRoomAuthorizer } from './room-rights.ts'

/** How long requests that are being answered may take when the bridge stops. */
const requestGraceMs = 5000

/** How often rooms of sessions that are gone for good are forgotten. */
const sweepMs = 30_000

/** A running bridge. */
export interface Bridge {
  readonly publicUrl: string
  readonly privateUrl: string
  /** Where the listeners listen, as address:port; 0.0.0.0 and [::] are all addresses of the machine. */
  readonly bound: { readonly public: string; readonly private: string }
  /** Readiness off, clients sent elsewhere over the drain period, requests finished, the log closed. Resolves when all is released; may be called again. */
  stop(): Promise<void>
}

/**
 * Builds every part once, in the order in which they need each other, and releases them in reverse, also when a later one fails.
 * @throws BridgeError that names what could not be started
 */
export async function startBridge(config: Config, logger: Logger): Promise<Bridge> {
  const releasers: (() => Promise<void>)[] = []
  const release = async (): Promise<void> => {
    for (const releaser of releasers.toReversed()) await releaser().catch((error: unknown) => logger.error({ err: error }, 'could not be released'))
  }
  const onFailure = (error: unknown): void => logger.error({ err: error }, 'something failed and was survived')
  let started = false
  let draining = false

  try {
    const openapiText = await readFile(new URL('../openapi.yaml', import.meta.url), 'utf8')
    const openapi: object = parse(openapiText)
    const reservedAudiences = config.http.serviceJwt === undefined ? [] : [config.http.serviceJwt.audience]
    const verifier = createTokenVerifier({
      issuers: config.jwt.issuers,
      reservedAudiences,
      now: Date.now,
      onFailure,
    })
    releasers.push(async () => verifier.close())
    verifier.start()

    const log = await EmbeddedLog.open({ ...config.log, now: Date.now, onFailure })
    releasers.push(() => log.close())

    const metrics = createMetrics({ sessions: () => hub.sessions().size, unackedMessages: () => amqp?.unacked ?? 0, onFailure })
    const hasKeys = config.jwt.issuers.length > 0
    const backend =
      config.backend &&
      createBackend({
        ...config.backend,
        readConnected: (claims) => toIdentity(claims, { ...config.jwt.opaque, userClaims: ['sub'], roomsClaim: 'rooms', roomTemplates: [] }),
        readIntrospected: createIntrospectedReader({ expected: config.jwt.opaque, reservedAudiences, now: Date.now }),
        observer: metrics.backend,
        journal: createBackendJournal(logger, Date.now),
        newId: randomUUID,
        now: Date.now,
      })
    releasers.push(async () => backend?.close())
    const { rooms, connect, introspection } = backend ?? {}

    const hub = new Hub({
      log,
      observer: metrics.observer,
      now: Date.now,
      newId: randomUUID,
      retentionAgeMs: config.log.retentionAgeMs,
      maxRoomsPerSession: config.gateway.roomsPerSession,
      revocationAgeMs: config.jwt.revocationAgeMs,
      clockToleranceMs: config.jwt.clockToleranceMs,
      authorizeRoom: createRoomAuthorizer({
        ...(hasKeys && { verifyRoomToken: (token) => verifier.verifyRoomToken(token) }),
        ...(rooms && { ask: (session, room) => rooms.authorize(session, room) }),
        clockToleranceMs: config.jwt.clockToleranceMs,
      }),
    })
    const sweeper = setInterval(() => {
      hub.sweep().catch((error: unknown) => {
        // Away for now; the next sweep tries again.
        if (!(error instanceof BridgeError && error.code === 'log_unavailable')) onFailure(error)
      })
    }, sweepMs)
    releasers.push(async () => clearInterval(sweeper))

    const parseDraft = createDraftParser(openapi, { maxEventBytes: config.http.maxEventBytes })
    const amqp =
      config.amqp &&
      new AmqpIngress({
        ...config.amqp,
        hub,
        parse: createMessageParser({ parseDraft, parseRevocation: createRevocationParser(openapi), maxEventBytes: config.http.maxEventBytes }),
        observer: metrics.amqp,
        journal: createAmqpJournal(logger, Date.now),
        onFailure: (error) => metrics.observer.failed(error),
        now: Date.now,
      })

    const callers = createCallers(config.http, { now: Date.now, onFailure })
    releasers.push(async () => callers.close())
    callers.start()

    const readiness = (): readonly Check[] => {
      const health = log.health()
      return [
        { name: 'started', ...(started ? {} : { failure: 'the bridge is starting' }) },
        { name: 'log', ...(health.appendable ? {} : { failure: health.reason }) },
        ...verifier.checks(),
        ...callers.checks(),
        ...(amqp === undefined ? [] : [amqp.check()]),
        { name: 'not_draining', ...(draining ? { failure: 'the bridge is shutting down' } : {}) },
      ]
    }
    const ingress = createServer(
      createHttpIngress({
        hub,
        openapi,
        openapiText,
        parseDraft,
        ...config.http,
        ...callers,
        now: Date.now,
        metrics,
        observer: metrics.observer,
        readiness,
        startup: () => readiness().filter(({ name }) => name === 'started'),
        draining: () => draining,
        onFailure,
      }),
    )
    setTimeouts(ingress)
    await listen(ingress, 'private', config.http)
    releasers.push(() => closeServer(ingress))

    const gateway = new Gateway({
      ...config.gateway,
      forward: config.backend?.forward ?? [],
      hub,
      login: createLogin({
        ...(hasKeys && { verify: (token) => verifier.verify(token) }),
        ...(introspection && { introspect: (token) => introspection.login(token) }),
        ...(connect && { connect: (credentials) => connect.login(credentials) }),
      }),
      pids: createPids(log.secret),
      newSessionId: () => randomBytes(15).toString('base64url'),
      observer: metrics.observer,
      onRefused: createRefusalLog(logger, Date.now),
      onFailure,
      now: Date.now,
    })
    await listen(gateway.server, 'public', config.gateway)
    gateway.start()
    releasers.push(() => gateway.close())

    // Last: what it takes in finds the sockets open.
    amqp?.start()
    releasers.push(async () => amqp?.close())

    started = true
    let stopping: Promise<void> | undefined
    const stop = async (): Promise<void> => {
      draining = true
      // First: what stays in the queue now is for whoever consumes next, or for this node when it is back.
      await amqp?.close()
      await gateway.drain(config.drainPeriodMs)
      await release()
    }
    return {
      publicUrl: toUrl(config.gateway.host, gateway.server),
      privateUrl: toUrl(config.http.host, ingress),
      bound: { public: toBound(gateway.server), private: toBound(ingress) },
      stop: () => {
        stopping ??= stop()
        return stopping
      },
    }
  } catch (error) {
    await release()
    throw error
  }
}

async function listen(server: Server, name: string, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(new BridgeError('listen_failed', `the ${name} listener cannot open ${host}:${port} (${listenProblem(cause, name)}`, { cause })),
    )
    server.listen(port, host, resolve)
  })
}

/** The code of the failure and what cures it. */
function listenProblem({ code, message }: NodeJS.ErrnoException, name: string): string {
  const variable = `SIDECAST_${name.toUpperCase()}`
  switch (code) {
    case 'EADDRINUSE':
      return `${code}): stop the other process that has it (the quickstart?) or set ${variable}_PORT`
    case 'EACCES':
      return `${code}): this user may not; set ${variable}_PORT to one above 1023`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${code}): set ${variable}_HOST to an address of this machine`
    default:
      return `${code ?? message}): set ${variable}_HOST and ${variable}_PORT to what this process may open`
  }
}

/** Lets the requests finish that are being answered. */
async function closeServer(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  const impatience = setTimeout(() => server.closeAllConnections(), requestGraceMs)
  await closed
  clearTimeout(impatience)
}

function toBound(server: Server): string {
  const address = server.address()
  if (address === null || typeof address === 'string') return String(address)
  return `${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`
}

function toUrl(host: string, server: Server): string {
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`
}
