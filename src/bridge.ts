import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import type { Logger } from 'pino'
import { parse } from 'yaml'
import { AmqpIngress } from './amqp/ingress.ts'
import { createMessageParser } from './amqp/message.ts'
import { createAmqpJournal } from './amqp-journal.ts'
import { type Authorities, createAuthorities } from './authorities.ts'
import { createCallers } from './callers.ts'
import type { Config } from './config/config.ts'
import { createDraftParser } from './core/draft.ts'
import type { EventLog } from './core/event-log.ts'
import type { Check } from './core/health.ts'
import { Hub } from './core/hub.ts'
import type { Observer } from './core/observer.ts'
import type { PeerLink } from './core/peers.ts'
import { Pressure, type PressureOptions } from './core/pressure.ts'
import { createRevocationParser } from './core/revocation-request.ts'
import { BridgeError } from './errors.ts'
import { Gateway } from './gateway/gateway.ts'
import { createPids } from './gateway/pid.ts'
import { findWriteWay } from './gateway/write-way.ts'
import { createAppServer, createHttpIngress, type HttpIngressOptions, limitUnanswered, setTimeouts } from './http/ingress.ts'
import { closeServer, listen, toBound, toUrl } from './listeners.ts'
import { EmbeddedLog } from './log/embedded.ts'
import { RedisLog } from './log/redis/redis-log.ts'
import { EventLoopDelay } from './metrics/event-loop-delay.ts'
import { createMetrics, type Metrics, type MetricsOptions } from './metrics/metrics.ts'
import { RedisPresence } from './presence/redis-presence.ts'
import { createRefusalLog } from './refusal-log.ts'
import { Releasers } from './releasers.ts'

/** How often rooms of sessions that are gone for good are forgotten. */
const sweepMs = 30_000

/** A running bridge. */
export interface Bridge {
  readonly publicUrl: string
  readonly privateUrl: string
  /** Where the listeners listen, as address:port; 0.0.0.0 and [::] are all addresses of the machine. */
  readonly bound: { readonly public: string; readonly private: string }
  /** Readiness off, a lead for load balancers, clients sent elsewhere over the drain period, requests finished, the log closed. May be called again. */
  stop(): Promise<void>
}

/** What the parts of a bridge have in common, whatever process they are in. */
export interface Surroundings {
  readonly config: Config
  readonly logger: Logger
  readonly releasers: Releasers
  readonly onFailure: (error: unknown) => void
}

export function createSurroundings(config: Config, logger: Logger): Surroundings {
  const onFailure = (error: unknown): void => logger.error({ err: error }, 'something failed and was survived')
  return { config, logger, releasers: new Releasers(logger), onFailure }
}

/**
 * Builds every part once, in the order in which they need each other, and releases them in reverse, also when a later one fails.
 * @throws BridgeError that names what could not be started
 */
export async function startBridge(config: Config, logger: Logger): Promise<Bridge> {
  const surroundings = createSurroundings(config, logger)
  const { releasers, onFailure } = surroundings
  try {
    const { log, nodes, rememberRequest } = await openLog(surroundings)
    const pressure = createPressure(surroundings)
    const eventLoop = startEventLoopDelay(surroundings)
    const metrics = createMetrics({
      sessions: () => hub.sessions().size,
      unackedMessages: () => ingresses?.unacked() ?? 0,
      waitingBytes: () => pressure.bytes,
      eventLoop,
      ...canaryAge(log),
      onFailure,
    })
    const authorities = startAuthorities(surroundings, metrics)
    const hub = createHub(surroundings, {
      log,
      authorities,
      observer: metrics.observer,
      overloaded: () => pressure.overloaded,
      ...(nodes && { link: nodes }),
    })
    keepSwept(surroundings, hub)
    let ingresses: Ingresses | undefined
    ingresses = await startIngresses(surroundings, {
      log,
      hub,
      metrics,
      shownMetrics: metrics,
      checks: () => [...authorities.checks(), eventLoop.check()],
      rememberRequest,
    })

    const gateway = createGateway(surroundings, { log, hub, authorities, pressure, observer: metrics.observer })
    await listen(gateway.server, 'public', config.gateway)
    gateway.start()
    releasers.add(() => gateway.close())

    const publicListener = { url: toUrl(config.gateway.host, gateway.server), bound: toBound(gateway.server) }
    return ingresses.open(publicListener, async () => logger.info(await gateway.drain(config.drainPeriodMs), 'the clients were sent elsewhere'))
  } catch (error) {
    await releasers.release()
    throw error
  }
}

/** The log, and the line to other nodes where there can be any. `shared`: workers read it too. */
export async function openLog({ config, releasers, onFailure }: Surroundings, { shared = false } = {}) {
  if (config.redis === undefined) {
    const log = await EmbeddedLog.open({ ...config.log, now: Date.now, onFailure })
    releasers.add(() => log.close())
    return { log, rememberRequest: (content: string, forMs: number) => log.remember(content, forMs) }
  }
  const log = await RedisLog.open({ ...config.log, ...config.redis, shared, now: Date.now, onFailure })
  releasers.add(() => log.close())
  const nodes = new RedisPresence({ key: `{${config.redis.prefix}}:presence`, node: randomUUID(), open: () => log.openLine(), onFailure })
  releasers.add(() => nodes.close())
  return { log, nodes, rememberRequest: (content: string, forMs: number) => log.remember(content, forMs) }
}

/** What the metrics say of a log that nodes share. */
export function canaryAge(log: EventLog): Pick<MetricsOptions, 'canaryAgeMs'> {
  return log.health().canaryAgeMs === undefined ? {} : { canaryAgeMs: () => log.health().canaryAgeMs }
}

export function startAuthorities({ config, logger, releasers, onFailure }: Surroundings, metrics: Metrics): Authorities {
  const authorities = createAuthorities(config, { metrics, logger, onFailure })
  releasers.add(async () => authorities.close())
  authorities.start()
  return authorities
}

interface HubParts {
  readonly log: EventLog
  readonly observer: Observer
  readonly authorities: Pick<Authorities, 'authorizeRoom'>
  readonly link?: PeerLink
  /** See `HubOptions`. */
  readonly overloaded?: () => boolean
}

export function createHub({ config }: Surroundings, { authorities, ...parts }: HubParts): Hub {
  return new Hub({
    ...parts,
    authorizeRoom: authorities.authorizeRoom,
    now: Date.now,
    newId: randomUUID,
    retentionAgeMs: config.log.retentionAgeMs,
    maxRoomsPerSession: config.gateway.roomsPerSession,
    revocationAgeMs: config.jwt.revocationAgeMs,
    clockToleranceMs: config.jwt.clockToleranceMs,
  })
}

/** What waits for the clients of this process. */
export function createPressure({ config: { gateway } }: Surroundings, onChange?: PressureOptions['onChange']): Pressure {
  return new Pressure({
    maxBytes: gateway.maxBufferedBytes,
    maxLagMs: gateway.maxLagMs,
    now: () => performance.now(),
    ...(onChange && { onChange }),
  })
}

export function startEventLoopDelay({ releasers }: Surroundings): EventLoopDelay {
  const eventLoop = new EventLoopDelay()
  releasers.add(async () => eventLoop.close())
  return eventLoop
}

export function keepSwept({ releasers, onFailure }: Surroundings, hub: Hub): void {
  let sweeping = false
  const sweep = async (): Promise<void> => {
    if (sweeping) return
    sweeping = true
    try {
      await hub.sweep()
    } catch (error) {
      // Away for now; the next sweep tries again.
      if (!(error instanceof BridgeError && error.code === 'log_unavailable')) onFailure(error)
    }
    sweeping = false
  }
  const sweeper = setInterval(sweep, sweepMs)
  releasers.add(async () => clearInterval(sweeper))
}

/** How events come in: HTTP, which also shows how the bridge does, and AMQP. */
export interface Ingresses {
  readonly unacked: () => number
  /** Consumes and says that it is ready. `drain`: sends the clients elsewhere. */
  open(publicListener: { readonly url: string; readonly bound: string }, drain: () => Promise<void>): Bridge
}

interface IngressParts {
  readonly log: EventLog
  readonly hub: Hub
  readonly metrics: Metrics
  readonly shownMetrics: Pick<HttpIngressOptions['metrics'], 'render'>
  /** What else has to be true before traffic makes sense. */
  readonly checks: () => readonly Check[]
  /** See `AuthenticatorOptions`. */
  readonly rememberRequest: HttpIngressOptions['rememberRequest']
}

export async function startIngresses(
  surroundings: Surroundings,
  { log, hub, metrics, shownMetrics, checks, rememberRequest }: IngressParts,
): Promise<Ingresses> {
  const { config, logger, releasers, onFailure } = surroundings
  let started = false
  // leaving: not ready any more, so that nobody new is sent here; whoever comes all the same is served until it drains.
  let leaving = false
  let draining = false
  const openapiText = await readFile(new URL('../openapi.yaml', import.meta.url), 'utf8')
  const openapi: object = parse(openapiText)
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
  releasers.add(async () => callers.close())
  callers.start()

  const readiness = (): readonly Check[] => {
    const health = log.health()
    return [
      { name: 'started', ...(started ? {} : { failure: 'the bridge is starting' }) },
      { name: 'log', ...(health.appendable ? {} : { failure: health.reason }) },
      ...(amqp === undefined ? [] : [amqp.check()]),
      ...callers.checks(),
      ...checks(),
      { name: 'not_draining', ...(leaving ? { failure: 'the bridge is shutting down' } : {}) },
    ]
  }
  const ingress: Server = createAppServer(
    createHttpIngress({
      hub,
      openapi,
      openapiText,
      parseDraft,
      ...config.http,
      ...callers,
      rememberRequest,
      now: Date.now,
      metrics: { ...metrics, render: () => shownMetrics.render() },
      observer: metrics.observer,
      readiness,
      startup: () => readiness().filter(({ name }) => name === 'started'),
      draining: () => draining,
      onFailure,
    }),
  )
  setTimeouts(ingress)
  limitUnanswered(ingress)
  await listen(ingress, 'private', config.http)
  releasers.add(() => closeServer(ingress))

  return {
    unacked: () => amqp?.unacked ?? 0,
    open(publicListener, drain) {
      // Last: what it takes in finds the sockets open.
      amqp?.start()
      releasers.add(async () => amqp?.close())
      started = true
      let stopping: Promise<void> | undefined
      const stop = async (): Promise<void> => {
        leaving = true
        if (config.drainLeadMs > 0) await setTimeout(config.drainLeadMs)
        draining = true
        // First: what stays in the queue now is for whoever consumes next, or for this node when it is back.
        await amqp?.close()
        await drain()
        await releasers.release()
      }
      return {
        publicUrl: publicListener.url,
        privateUrl: toUrl(config.http.host, ingress),
        bound: { public: publicListener.bound, private: toBound(ingress) },
        stop: () => {
          stopping ??= stop()
          return stopping
        },
      }
    },
  }
}

interface GatewayParts {
  readonly log: EventLog
  readonly hub: Hub
  readonly observer: Observer
  readonly authorities: Pick<Authorities, 'login'>
  readonly pressure: Pressure
  /** See `GatewayOptions`. */
  readonly idPrefix?: string
}

/** Where the browsers arrive. */
export function createGateway({ config, logger, onFailure }: Surroundings, { log, authorities, ...parts }: GatewayParts): Gateway {
  const { writeWay, versions, note } = findWriteWay()
  logger[writeWay === 'kernel' ? 'debug' : 'info']({ writeWay, versions }, note)
  return new Gateway({
    ...config.gateway,
    ...parts,
    writeWay,
    forward: config.backend?.forward ?? [],
    login: authorities.login,
    pids: createPids(log),
    newSessionId: () => randomBytes(15).toString('base64url'),
    onRefused: createRefusalLog(logger, Date.now),
    onFailure,
    now: Date.now,
  })
}
