import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { type Broker, type Names, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { amqpMetric, consumerFailure, numbered, publishTo, untilAttached, untilFailing, untilMetric } from './observed.ts'

// Each way to lose the consumer is caused for real. The bridge that noticed it delivers again, without having been restarted.
let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

interface Loss {
  readonly names?: Names
  readonly settings?: Readonly<Record<string, string>>
  readonly cause: (names: Names) => Promise<void> | void
  /** What `/readyz` then says. */
  readonly failure: string
  readonly cure?: () => Promise<void> | void
}

/** An event before and one after arrive, each once. */
async function expectMended({ names = broker.names(), settings = {}, cause, failure, cure }: Loss): Promise<void> {
  await using bridge = await startConsumingBridge(broker, { ...names.settings, ...settings })
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  await publishTo(broker, names.exchange, [numbered(1, 'first')])
  await session.event()
  const losses = await amqpMetric(bridge, 'reconnects_total')

  const failing = untilFailing(bridge, failure)
  await cause(names)
  await failing
  await cure?.()
  await untilAttached(bridge)
  await publishTo(broker, names.exchange, [numbered(2, 'second')])
  await session.event(2)
  expect(session.received.map(({ data }) => data)).toEqual([1, 2])
  expect(await amqpMetric(bridge, 'reconnects_total')).toBeGreaterThan(losses)
}

test('a broker that cannot be reached does not keep the bridge from starting, and is consumed from when it can', async () => {
  await using proxy = await startTcpProxy(broker)
  proxy.refuse()
  const names = broker.names()
  await using bridge = await startTestBridge({ AMQP_URL: broker.urlFor({ port: proxy.port }), ...names.settings })
  await untilFailing(bridge, 'no consumer is attached: ')
  expect((await fetch(`${bridge.privateUrl}/livez`)).status).toBe(200)
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  await bridge.publish({ event: 'by-http', to: { users: ['7'] } })
  await session.event()
  proxy.restore()
  await untilAttached(bridge)
  await publishTo(broker, names.exchange, [numbered(1)])
  expect(await session.event(2)).toMatchObject({ data: 1 })
})

test('a connection that is cut', async () => {
  await using proxy = await startTcpProxy(broker)
  const settings = { AMQP_URL: broker.urlFor({ port: proxy.port }) }
  await expectMended({ settings, cause: () => proxy.refuse(), failure: 'no consumer is attached', cure: () => proxy.restore() })
})

test('the broker is to be heard of every 5 s, unless the address says otherwise', async () => {
  for (const [query, seconds] of [
    ['', '5'],
    ['?heartbeat=7', '7'],
  ] as const) {
    await using _bridge = await startConsumingBridge(broker, { AMQP_URL: `${broker.url}${query}` })
    expect((await broker.ctl('-q', '--no-table-headers', 'list_connections', 'timeout')).split(/\s+/)).toContain(seconds)
  }
})

test('a network that swallows everything', async () => {
  await using proxy = await startTcpProxy(broker)
  const settings = { AMQP_URL: `${broker.urlFor({ port: proxy.port })}?heartbeat=1` }
  await expectMended({ settings, cause: () => proxy.blackHole(), failure: 'Heartbeat timeout', cure: () => proxy.restore() })
})

test('a broker that is killed and comes back', async () => {
  const names = broker.names()
  await (await startConsumingBridge(broker, names.settings))[Symbol.asyncDispose]()
  // RabbitMQ 3.10 writes down a new quorum queue within five seconds; one that is younger when the broker is killed never works again.
  await setTimeout(6000)
  await expectMended({ names, cause: () => broker.kill(), failure: 'no consumer is attached', cure: () => broker.restart() })
})

test('a broker that hangs', async () => {
  const settings = { AMQP_URL: `${broker.url}?heartbeat=1` }
  await expectMended({ settings, cause: () => broker.stop(), failure: 'Heartbeat timeout', cure: () => broker.cont() })
})

test('a connection that the broker closes', async () => {
  await expectMended({ cause: () => broker.closeConnections(), failure: 'CONNECTION_FORCED' })
})

test('a consumer that the broker cancels because its queue was deleted: it is declared anew', async () => {
  const remove = async ({ queue }: Names) => {
    const connection = await broker.connect()
    await (await connection.createChannel()).deleteQueue(queue)
    await connection.close()
  }
  await expectMended({ cause: remove, failure: 'cancelled' })
})

test('a user that is deleted and created again', async () => {
  await broker.addUser('bridge', 'first-password')
  await expectMended({
    settings: { AMQP_URL: broker.urlFor({ user: 'bridge', password: 'first-password' }) },
    cause: () => broker.deleteUser('bridge'),
    failure: 'ACCESS_REFUSED',
    cure: () => broker.addUser('bridge', 'first-password'),
  })
  await broker.deleteUser('bridge')
})

test('rights that are taken away and given back', async () => {
  await broker.addUser('limited', 'password')
  await expectMended({
    settings: { AMQP_URL: broker.urlFor({ user: 'limited', password: 'password' }) },
    cause: async () => {
      await broker.clearPermissions('limited')
      await broker.closeConnections()
    },
    failure: 'the vhost / is refused',
    cure: () => broker.setPermissions('limited', { configure: '.*', write: '.*', read: '.*' }),
  })
  await broker.deleteUser('limited')
})

test('a channel that the broker closes during set-up', async () => {
  await broker.addUser('limited', 'password')
  await expectMended({
    settings: { AMQP_URL: broker.urlFor({ user: 'limited', password: 'password' }) },
    cause: async () => {
      await broker.setPermissions('limited', { configure: '.*', write: '.*', read: '^$' })
      await broker.closeConnections()
    },
    failure: 'is out of reach: ACCESS_REFUSED',
    cure: () => broker.setPermissions('limited', { configure: '.*', write: '.*', read: '.*' }),
  })
  await broker.deleteUser('limited')
})

test('connections that the broker closes again and again while the consumer is being set up', async () => {
  const closeAll =
    '[begin [catch rabbit_networking:close_connection(P, "by the test") || P <- rabbit_networking:connections()], timer:sleep(2) end || _ <- lists:seq(1, 1500)], ok.'
  await expectMended({ cause: async () => void (await broker.evaluate(closeAll)), failure: 'no consumer is attached' })
})

test('a channel that the broker closes because acks are overdue', async () => {
  const setTimes = (timeout: string, tick: string) =>
    broker.evaluate(`application:set_env(rabbit, consumer_timeout, ${timeout}), application:set_env(rabbit, channel_tick_interval, ${tick}).`)
  await setTimes('500', '200')
  const names = broker.names()
  try {
    await using bridge = await startConsumingBridge(broker, names.settings)
    await using session = connectSession(bridge.publicUrl, { token: login('7') })
    await session.notice('sidecast:ready')
    // Nothing leads to the dead letters any more, so poison cannot be acked.
    const connection = await broker.connect()
    const channel = await connection.createChannel()
    await channel.unbindQueue(names.deadLetter, names.deadLetter, '')
    const failing = untilFailing(bridge, 'PRECONDITION_FAILED')
    await publishTo(broker, names.exchange, [{ body: 'poison', id: 'poison' }, numbered(1, 'first')])
    expect(await session.event()).toMatchObject({ data: 1 })
    await failing
    // Attaching anew has declared the binding anew.
    await untilMetric(bridge, 'dead_lettered_total', (count) => count === 1)
    await untilAttached(bridge)
    await publishTo(broker, names.exchange, [numbered(2, 'second')])
    await session.event(2)
    expect(session.received.map(({ data }) => data)).toEqual([1, 2])
    await connection.close()
  } finally {
    await setTimes('1800000', '60000')
  }
})

test('a broker that is low on memory: events flow on, and dead letters wait for it', async () => {
  await using proxy = await startTcpProxy(broker)
  const names = broker.names()
  await (await startConsumingBridge(broker, names.settings))[Symbol.asyncDispose]()
  await publishTo(broker, names.exchange, [numbered(1), { body: 'poison' }, numbered(2), numbered(3)])
  await broker.setMemoryAlarm(true)
  try {
    proxy.refuse()
    await using bridge = await startTestBridge({ AMQP_URL: broker.urlFor({ port: proxy.port }), ...names.settings })
    await using session = connectSession(bridge.publicUrl, { token: login('7') })
    await session.notice('sidecast:ready')
    proxy.restore()
    await session.event(3)
    await untilMetric(bridge, 'unacked', (count) => count === 1)
    expect(await consumerFailure(bridge)).toBeUndefined()
    expect(await amqpMetric(bridge, 'dead_lettered_total')).toBe(0)
    await broker.setMemoryAlarm(false)
    await untilMetric(bridge, 'dead_lettered_total', (count) => count === 1)
    await untilMetric(bridge, 'unacked', (count) => count === 0)
    expect(session.received.map(({ data }) => data)).toEqual([1, 2, 3])
    expect(await amqpMetric(bridge, 'reconnects_total')).toBeLessThan(20)
    await broker.untilQueue(names.deadLetter, ({ messages }) => messages === 1)
  } finally {
    await broker.setMemoryAlarm(false)
  }
})

test('a bridge that stops acks what it has and leaves the rest to the next', async () => {
  const names = broker.names()
  const bridge = await startConsumingBridge(broker, names.settings)
  const total = 3000
  const publishing = publishTo(
    broker,
    names.exchange,
    Array.from({ length: total }, (_, n) => numbered(n, `drain-${n}`)),
  )
  await untilMetric(bridge, 'appended_total', (count) => count > 0)
  const { directory } = bridge
  await bridge.stop()
  await publishing
  await broker.untilQueue(names.queue, ({ unacknowledged }) => unacknowledged === 0)
  await using next = await startTestBridge({ AMQP_URL: broker.url, ...names.settings }, directory)
  await broker.untilQueue(names.queue, (state) => state.messages === 0)
  await untilMetric(next, 'unacked', (count) => count === 0)
  // What the first had stored, it had acked.
  expect(await amqpMetric(next, 'appended_total')).toBeGreaterThan(0)
  expect(await amqpMetric(next, 'duplicate_total')).toBe(0)
  await bridge[Symbol.asyncDispose]()
})
