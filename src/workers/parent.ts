import type { Logger } from 'pino'
import {
  type Bridge,
  canaryAge,
  createHub,
  createSurroundings,
  keepSwept,
  openLog,
  startAuthorities,
  startEventLoopDelay,
  startIngresses,
} from '../bridge.ts'
import type { Config } from '../config/config.ts'
import type { ConfigSources } from '../config/sources.ts'
import { listen, toBound, toUrl } from '../listeners.ts'
import { createMetrics } from '../metrics/metrics.ts'
import { withBroadcast } from './broadcasting-log.ts'
import { joinLinks } from './joined-links.ts'
import { Router } from './router.ts'
import { Workers } from './workers.ts'

/**
 * A bridge of several processes: this one owns the log, the ingresses and the ports; its workers serve the browsers. Built like one of a single process.
 * @throws BridgeError that names what could not be started
 */
export async function startParent(config: Config, logger: Logger, { args, cwd }: ConfigSources): Promise<Bridge> {
  const surroundings = createSurroundings(config, logger)
  const { releasers, onFailure } = surroundings
  try {
    const { log, nodes, rememberRequest } = await openLog(surroundings, { shared: true })
    const eventLoop = startEventLoopDelay(surroundings)
    const metrics = createMetrics({ sessions: () => 0, unackedMessages: () => ingresses?.unacked() ?? 0, eventLoop, ...canaryAge(log), onFailure })
    const workers = new Workers({
      count: config.workers,
      sources: { args, cwd },
      share: () => log.share(),
      runs: () => log.runs(),
      append: (entries) => log.append(entries),
      catchUp: (offset) => log.catchUp(offset),
      peers: () => hub.peers,
      ownMetrics: () => metrics.snapshot(),
      onStarted: (worker) => logger.info({ worker }, 'a worker is up'),
      onEnded: (worker, reason, restartMs) => logger.error({ worker, reason, restartMs }, 'a worker is gone; its clients go on at the others'),
      onGone: () => log.readerGone(),
      onFailure,
    })
    // Nobody logs in here; what the keys are like is asked of this process, though.
    const authorities = startAuthorities(surroundings, metrics)
    const hub = createHub(surroundings, {
      authorities,
      log: withBroadcast(log, workers),
      observer: metrics.observer,
      overloaded: () => workers.overloaded,
      link: nodes === undefined ? workers : joinLinks(workers, nodes, () => hub.peers),
    })
    keepSwept(surroundings, hub)
    let ingresses: Awaited<ReturnType<typeof startIngresses>> | undefined
    ingresses = await startIngresses(surroundings, {
      log,
      hub,
      metrics,
      shownMetrics: workers,
      checks: () => [...authorities.checks(), workers.check(), eventLoop.check()],
      rememberRequest,
    })

    releasers.add(() => workers.close())
    await workers.start()
    const router = new Router({ onConnection: (socket, head, worker) => workers.hand(socket, head, worker) })
    releasers.add(() => router.close())
    await listen(router.server, 'public', config.gateway)

    const publicListener = { url: toUrl(config.gateway.host, router.server), bound: toBound(router.server) }
    return ingresses.open(publicListener, () => workers.drain(config.drainPeriodMs))
  } catch (error) {
    await releasers.release()
    throw error
  }
}
