import type { Socket } from 'node:net'
import { pino } from 'pino'
import { createGateway, createHub, createPressure, createSurroundings, startAuthorities, startEventLoopDelay } from '../bridge.ts'
import { loadConfig } from '../config/config.ts'
import { SharedLog } from '../log/shared.ts'
import { createMetrics } from '../metrics/metrics.ts'
import type { WorkerStart } from './messages.ts'
import { type Order, ParentLink } from './parent-link.ts'

/** One of several processes behind the public port. */
export interface Worker {
  /** A connection that the parent has accepted, with what its client has sent; undefined when it is closed already. */
  take(socket: Socket | undefined, head: Buffer): void
  fail(error: unknown): void
}

/**
 * Builds a worker: the browsers' side of a bridge, on a log that the parent writes.
 * @throws BridgeError
 */
export function startWorker({ number, sources, share }: WorkerStart, parent: Socket, exit: (code: number) => void): Worker {
  const config = loadConfig({ ...sources, env: process.env })
  const logger = pino({ level: config.logLevel, base: { worker: number } })
  const surroundings = createSurroundings(config, logger)
  const { releasers, onFailure } = surroundings

  const link = new ParentLink(parent, (order) => obey(order))
  const log = new SharedLog(share, link)
  releasers.add(() => log.close())
  const pressure = createPressure(surroundings, (overloaded) => link.tell({ kind: 'pressure', overloaded }))
  const eventLoop = startEventLoopDelay(surroundings)
  const metrics = createMetrics({
    sessions: () => hub.sessions().size,
    unackedMessages: () => 0,
    waitingBytes: () => pressure.bytes,
    eventLoop,
    onFailure,
  })
  const authorities = startAuthorities(surroundings, metrics)
  const hub = createHub(surroundings, { log, authorities, observer: metrics.observer, link })
  const gateway = createGateway(surroundings, { log, hub, authorities, pressure, observer: metrics.observer, idPrefix: `${number}.` })
  gateway.start()
  releasers.add(() => gateway.close())
  link.tell({ kind: 'ready' })

  const obey = (order: Order): void => {
    switch (order.kind) {
      case 'beat':
        // Nothing may have arrived for long, and the parent needs the pages that are old.
        log.renew()
        link.tell({ kind: 'beat', connections: gateway.connections, eventLoop: eventLoop.check() })
        return
      case 'runs':
        log.takeRuns(order.runs)
        return
      case 'metrics':
        metrics.snapshot().then((snapshot) => link.tell({ kind: 'metrics', metrics: snapshot }), onFailure)
        return
      case 'drain':
        gateway.drain(order.periodMs).then((drained) => {
          logger.info(drained, 'the clients were sent elsewhere')
          link.tell({ kind: 'drained' })
        }, onFailure)
        return
      case 'stop':
        releasers.release().then(() => exit(0), onFailure)
        return
      default:
        order satisfies never
    }
  }
  return {
    take(socket, head) {
      link.tell({ kind: 'taken' })
      if (socket !== undefined) gateway.take(socket, head)
    },
    fail(error) {
      logger.fatal({ err: error }, 'a failure that nobody caught: this worker ends, another takes its place')
      exit(1)
    },
  }
}
