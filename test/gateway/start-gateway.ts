import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { Hub, type HubOptions } from '../../src/core/hub.ts'
import { Pressure } from '../../src/core/pressure.ts'
import { Gateway, type GatewayOptions } from '../../src/gateway/gateway.ts'
import { createPids } from '../../src/gateway/pid.ts'
import { EmbeddedLog } from '../../src/log/embedded.ts'
import { createMetrics } from '../../src/metrics/metrics.ts'
import { createRefusalLog } from '../../src/refusal-log.ts'

/** A gateway on a hub and a log of its own, with logins of the test's choice. */
export async function startGateway(login: GatewayOptions['login'], overrides: Partial<GatewayOptions> = {}, ofHub: Partial<HubOptions> = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-gateway-'))
  const failures: unknown[] = []
  const onFailure = (error: unknown) => void failures.push(error)
  const now = Date.now
  const log = await EmbeddedLog.open({
    directory,
    durability: 'process',
    retentionAgeMs: 300_000,
    retentionEvents: 1000,
    dedupeWindowMs: 300_000,
    now,
    onFailure,
  })
  const { observer, render } = createMetrics({ sessions: () => 0, unackedMessages: () => 0, onFailure })
  const hub = new Hub({
    log,
    observer,
    now,
    newId: () => '',
    retentionAgeMs: 300_000,
    maxRoomsPerSession: 10,
    revocationAgeMs: 1000,
    clockToleranceMs: 0,
    ...ofHub,
  })
  const gateway = new Gateway({
    hub,
    login,
    pids: createPids(log),
    newSessionId: () => randomBytes(15).toString('base64url'),
    observer,
    tokenSources: [{ kind: 'auth' }],
    forward: [],
    refusalsPerIp: 0,
    trustedProxies: [],
    sessionsPerUser: 10,
    onRefused: createRefusalLog(pino({ level: 'info' }, { write: () => undefined }), now),
    transports: ['websocket'],
    allowedOrigins: [],
    serveClient: false,
    maxBufferBytes: 1e6,
    pressure: new Pressure({ maxBytes: 1e9, maxLagMs: 60_000, now: () => performance.now() }),
    writeWay: 'kernel',
    pingIntervalMs: 25_000,
    pingTimeoutMs: 20_000,
    connectTimeoutMs: 60_000,
    onFailure,
    now,
    ...overrides,
  })
  await once(gateway.server.listen(0, '127.0.0.1'), 'listening')
  gateway.start()
  let closed = false
  const closeLog = async () => {
    if (!closed) await log.close()
    closed = true
  }
  return {
    url: `http://127.0.0.1:${(gateway.server.address() as AddressInfo).port}`,
    hub,
    connections: () => gateway.connections,
    failures,
    render,
    closeLog,
    async [Symbol.asyncDispose]() {
      await gateway.close()
      await closeLog()
      await rm(directory, { recursive: true })
    },
  }
}
