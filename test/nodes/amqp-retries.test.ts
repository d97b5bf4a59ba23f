import { setTimeout } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { inSync, startRedis, type TestRedis } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

const broker = await startBroker()
afterAll(() => broker.close())

interface Trouble {
  readonly redis: TestRedis
  /** Consumes. */
  readonly bridge: TestBridge
  readonly names: ReturnType<typeof broker.names>
  /** Where the clients are. */
  readonly publicUrl: string
  /** From now on what is stored cannot be confirmed. */
  begin(): void
  end(): void
}

/** Resolves when readiness says this. */
async function untilReadiness({ privateUrl }: TestBridge, said: RegExp): Promise<void> {
  while (!said.test(await (await fetch(`${privateUrl}/readyz`)).text())) await setTimeout(20)
}

async function retried({ privateUrl }: TestBridge): Promise<number> {
  const text = await (await fetch(`${privateUrl}/metrics`)).text()
  return Number(/^sidecast_amqp_retried_total (\d+)$/m.exec(text)?.[1] ?? 0)
}

/** Publishes what is stored without the bridge being told, and an event behind it. */
async function expectOnce(kind: 'event' | 'disconnect', { redis, bridge, names, publicUrl, begin, end }: Trouble): Promise<void> {
  const channel = await (await broker.connect()).createConfirmChannel()
  const send = (key: string, data: unknown, headers: Readonly<Record<string, string>> = {}): void =>
    void channel.publish(names.exchange, key, Buffer.from(JSON.stringify(data)), { headers })
  const stored = async (): Promise<number> => Number(await redis.command('XLEN', '{test}:log'))
  await untilReadiness(bridge, /"ok"/)
  await using session = connectSession(publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  let count = 0
  for (let begun = false; !begun; ) {
    await using ended = connectSession(publicUrl, { token: login('8') })
    await ended.notice('sidecast:ready')
    const before = await stored()
    begin()
    count++
    if (kind === 'event') send('user.7.numbered', count)
    else send('', 0, { 'sidecast-command': 'disconnect', 'sidecast-users': '8' })
    await untilReadiness(bridge, /the consumer waits until events can be stored/)
    begun = (await stored()) > before
    // The trouble was noticed before anything was written: once more.
    if (!begun) end()
    await (kind === 'event' ? session.event(count) : ended.closed())
    if (!begun) await untilReadiness(bridge, /"ok"/)
  }
  await using returned = connectSession(publicUrl, { token: login('8') })
  await returned.notice('sidecast:ready')
  send('all.last', 'last')
  const tries = await retried(bridge)
  while ((await retried(bridge)) < tries + 2) await setTimeout(20)
  end()
  await session.until(() => session.received.some(({ event }) => event === 'last'))
  const numbers = kind === 'event' ? Array.from({ length: count }, (_, index) => index + 1) : []
  expect(session.received.map(({ data }) => data)).toEqual([...numbers, 'last'])
  await returned.until(() => returned.received.length > 0 || returned.notices.length > 1)
  expect(returned.received.map(({ data }) => data)).toEqual(['last'])
  await untilReadiness(bridge, /"ok"/)
  expect(returned.notices.map(({ event }) => event)).toEqual(['sidecast:ready'])
}

describe('a message without an id is carried out once, however often it is tried again', () => {
  test('an event that no replica has acknowledged', async () => {
    await using redis = await startRedis({ config: { appendonly: 'no' } })
    await using replica = await startRedis({ config: { appendonly: 'no', replicaof: `127.0.0.1 ${redis.port}` } })
    await inSync(redis)
    const names = broker.names()
    await using bridge = await startTestBridge({
      REDIS_URL: redis.url,
      REDIS_PREFIX: 'test',
      REDIS_WAIT: '1',
      AMQP_URL: broker.url,
      ...names.settings,
    })
    await expectOnce('event', { redis, bridge, names, publicUrl: bridge.publicUrl, begin: replica.freeze, end: replica.thaw })
  })

  test('a command for which the answer of Redis was lost', async () => {
    await using redis = await startRedis({ config: { appendonly: 'no' } })
    await using way = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const names = broker.names()
    const settings = { REDIS_PREFIX: 'test', AMQP_URL: broker.url, ...names.settings }
    await using bridge = await startTestBridge({ ...settings, REDIS_URL: `redis://127.0.0.1:${way.port}` })
    await using other = await startTestBridge({ REDIS_PREFIX: 'test', REDIS_URL: redis.url })
    await expectOnce('disconnect', { redis, bridge, names, publicUrl: other.publicUrl, begin: way.mute, end: way.restore })
  })
})
