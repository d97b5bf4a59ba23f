import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { Hub } from '../../src/core/hub.ts'
import { Gateway } from '../../src/gateway/gateway.ts'
import { createPids } from '../../src/gateway/pid.ts'
import { EmbeddedLog } from '../../src/log/embedded.ts'
import { createMetrics } from '../../src/metrics/metrics.ts'
import { createRefusalLog } from '../../src/refusal-log.ts'
import { connectSession } from '../support/client.ts'
import { openRaw } from './raw-client.ts'

/** A gateway on a hub and a log of its own, with a verifier of the test's choice. */
async function startGateway(verify: (token: string) => Promise<{ user: string; rooms: string[]; grants: [] }>) {
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
  const { observer } = createMetrics({ sessions: () => 0, unackedMessages: () => 0, onFailure })
  const hub = new Hub({ log, observer, now, newId: () => '', retentionAgeMs: 300_000, maxRoomsPerSession: 10 })
  const gateway = new Gateway({
    hub,
    verify,
    pids: createPids(log),
    newSessionId: () => randomBytes(15).toString('base64url'),
    observer,
    tokenSources: [{ kind: 'auth' }],
    sessionsPerUser: 10,
    onRefused: createRefusalLog(pino({ level: 'info' }, { write: () => undefined }), now),
    transports: ['websocket'],
    allowedOrigins: [],
    serveClient: false,
    maxBufferBytes: 1e6,
    clockToleranceMs: 0,
    pingIntervalMs: 25_000,
    pingTimeoutMs: 20_000,
    connectTimeoutMs: 500,
    onFailure,
    now,
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
    failures,
    closeLog,
    async [Symbol.asyncDispose]() {
      await gateway.close()
      await closeLog()
      await rm(directory, { recursive: true })
    },
  }
}

const odd: readonly [string, unknown][] = [
  ['nothing', undefined],
  ['null', null],
  ['a text', 'canary'],
  ['an error of a library', new TypeError('canary')],
  ['an object that has no text', Object.create(null)],
  [
    'an object whose text throws',
    {
      toString: () => {
        throw new Error('canary')
      },
    },
  ],
  ['an error without a message', Object.assign(new Error('x'), { message: undefined })],
  ['an error that says that it is ours', Object.assign(new Error('canary'), { code: 'token_expired', name: 'BridgeError' })],
]

test.each(odd)('a verifier that throws %s refuses with a code and a fixed text, and the process goes on', async (_, thrown) => {
  for (const throwing of [
    () => Promise.reject(thrown),
    () => {
      throw thrown
    },
  ]) {
    await using gateway = await startGateway(throwing)
    await using session = connectSession(gateway.url, { token: 'x', reconnection: false })
    expect(await session.refused()).toEqual({ code: 'unavailable', message: 'The service is not available at the moment.', retry: true })
  }
})

test('a verifier that throws what cannot even be looked at costs that connection and not the process', async () => {
  const throwing = (): never => {
    throw new Error('canary')
  }
  await using gateway = await startGateway(() => Promise.reject(new Proxy({}, { getPrototypeOf: throwing })))
  await using raw = await openRaw(gateway.url)
  raw.send('40{"token":"x"}')
  await raw.closed
  expect(raw.packets.filter((packet) => packet.startsWith('4'))).toEqual([])
  expect(gateway.failures).toHaveLength(1)
})

test('a verifier that never answers holds a connection no longer than it may take to log in', async () => {
  await using gateway = await startGateway(() => new Promise(() => undefined))
  await using session = connectSession(gateway.url, { token: 'x', reconnection: false })
  await new Promise((resolve) => session.socket.io.once('open', () => resolve(undefined)))
  const [reason] = await once(session.socket.io as never, 'close')
  expect(reason).toBe('transport close')
})

test('a log that fails while a session is taken in costs that connection and not the process', async () => {
  await using gateway = await startGateway(async () => ({ user: '42', rooms: [], grants: [] }))
  await using first = connectSession(gateway.url, { token: 'x', reconnection: false })
  await first.notice('sidecast:ready')
  await gateway.closeLog()
  await using second = connectSession(gateway.url, { token: 'x', reconnection: false })
  await second.closed()
  expect(gateway.failures.length).toBeGreaterThan(0)
  expect(second.notices).toEqual([])
})
