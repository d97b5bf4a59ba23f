import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { deadLettersOf } from './dead-letters-of.ts'
import { amqpMetric, numbered, publishTo, untilAttached, untilFailing, untilMetric } from './observed.ts'

let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

const range = (from: number, to: number): readonly number[] => Array.from({ length: to - from }, (_, index) => from + index)

test('messages arrive in order and are acked when they are stored; what cannot be delivered does not hold them up', async () => {
  await using bridge = await startConsumingBridge(broker)
  const { exchange, queue, deadLetter } = bridge.names
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  const messages = range(0, 2000).flatMap((n) => (n % 4 === 0 ? [{ body: 'poison' }, numbered(n)] : [numbered(n, `ordered-${n}`)]))
  await publishTo(broker, exchange, messages)
  await session.event(2000)
  expect(session.received.map(({ data }) => data)).toEqual(range(0, 2000))
  await untilMetric(bridge, 'dead_lettered_total', (count) => count === 500)
  await untilMetric(bridge, 'unacked', (count) => count === 0)
  await broker.untilQueue(queue, (state) => state.messages === 0)
  await broker.untilQueue(deadLetter, (state) => state.messages === 500)
  expect(await amqpMetric(bridge, 'consumed_total')).toBe(2500)
  expect(await amqpMetric(bridge, 'appended_total')).toBe(2000)
})

test('what is delivered again after a lost connection reaches the user once, in order', async () => {
  await using proxy = await startTcpProxy(broker)
  await using bridge = await startConsumingBridge(broker, { AMQP_URL: broker.urlFor({ port: proxy.port }) })
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  const total = 6000
  const publishing = publishTo(
    broker,
    bridge.names.exchange,
    range(0, total).map((n) => numbered(n, `again-${n}`)),
  )
  for (const part of [0.1, 0.4, 0.7]) {
    await session.event(total * part)
    proxy.cut()
  }
  await publishing
  await session.event(total)
  await untilMetric(bridge, 'unacked', (count) => count === 0)
  await broker.untilQueue(bridge.names.queue, (state) => state.messages === 0)
  expect(session.received.map(({ data }) => data)).toEqual(range(0, total))
  const [consumed, appended] = [await amqpMetric(bridge, 'consumed_total'), await amqpMetric(bridge, 'appended_total')]
  expect({ appended, redelivered: consumed > appended }).toEqual({ appended: total, redelivered: true })
})

test('an id that stands at another event goes to the dead letters; the same again is taken for what it is', async () => {
  await using bridge = await startConsumingBridge(broker)
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  await publishTo(broker, bridge.names.exchange, [numbered(1, 'once'), numbered(1, 'once'), numbered(2, 'once'), numbered(3)])
  await session.event(2)
  expect(session.received.map(({ data }) => data)).toEqual([1, 3])
  expect(await deadLettersOf(broker, bridge.names.deadLetter, 1)).toEqual([expect.stringMatching(/^id_reused: /)])
  expect(await amqpMetric(bridge, 'duplicate_total')).toBe(1)
})

test('a dead letter that no queue takes is not acked: it is tried again until one does', async () => {
  await using bridge = await startConsumingBridge(broker)
  const { exchange, deadLetter } = bridge.names
  const connection = await broker.connect()
  const channel = await connection.createChannel()
  await channel.unbindQueue(deadLetter, deadLetter, '')
  await publishTo(broker, exchange, [{ body: 'poison', properties: { headers: { kept: 'as it was' }, expiration: '600000', correlationId: 'c' } }])
  await untilMetric(bridge, 'retried_total', (count) => count > 1)
  expect(await amqpMetric(bridge, 'unacked')).toBe(1)
  await channel.bindQueue(deadLetter, deadLetter, '')
  await untilMetric(bridge, 'unacked', (count) => count === 0)
  await broker.untilQueue(deadLetter, (state) => state.messages === 1)
  const letter = await channel.get(deadLetter)
  expect(letter && { content: letter.content.toString(), ...letter.properties }).toMatchObject({
    content: 'poison',
    correlationId: 'c',
    deliveryMode: 2,
    expiration: undefined,
    headers: {
      kept: 'as it was',
      'sidecast-error': expect.stringMatching(/^invalid_json: /),
      'sidecast-exchange': exchange,
      'sidecast-routing-key': '',
    },
  })
  await connection.close()
})

test('a log that cannot append pauses the consumer: nothing is lost, out of order or acked, and it goes on when there is room', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-full-'))
  const names = broker.names()
  await using process = new BridgeProcess({ AMQP_URL: broker.url, ...names.settings, MAX_EVENT_SIZE: '256kb' }, { directory })
  const limit = (bytes: number | 'unlimited') => execFileSync('prlimit', [`--fsize=${bytes}:`, '--pid', String(process.child.pid)])
  const bridge = await process.ready()
  await untilAttached(bridge)
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  const large = (n: number) => ({ key: 'user.7.large', id: `large-${n}`, body: JSON.stringify({ n, filling: 'x'.repeat(20_000) }) })
  await publishTo(broker, names.exchange, range(0, 50).map(large))
  await session.event(50)

  limit(statSync(join(directory, 'log.mdb')).size + 100_000)
  await publishTo(broker, names.exchange, range(50, 800).map(large))
  await untilFailing(bridge, 'the consumer waits until events can be stored')
  await untilMetric(bridge, 'retried_total', (count) => count > 0)
  const state = await broker.untilQueue(names.queue, ({ unacknowledged }) => unacknowledged === 250)
  expect(state.messages).toBeGreaterThan(250)
  expect(await amqpMetric(bridge, 'dead_lettered_total')).toBe(0)
  // It waits between attempts: of these there are few.
  expect((await amqpMetric(bridge, 'retried_total')) / 250).toBeLessThan(100)

  limit('unlimited')
  await session.event(800)
  await untilAttached(bridge)
  await untilMetric(bridge, 'unacked', (count) => count === 0)
  expect(session.received.map(({ data }) => Object(data).n)).toEqual(range(0, 800))
  expect(await amqpMetric(bridge, 'reconnects_total')).toBe(0)
  await process.kill()
  await rm(directory, { recursive: true })
})

test('a bridge that is killed in the middle delivers nothing twice after it is back', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-killed-'))
  const names = broker.names()
  const settings = { AMQP_URL: broker.url, ...names.settings }
  const total = 5000
  const first = new BridgeProcess(settings, { directory })
  await untilAttached(await first.ready())
  const publishing = publishTo(
    broker,
    names.exchange,
    range(0, total).map((n) => numbered(n, `killed-${n}`)),
  )
  await untilMetric(await first.ready(), 'appended_total', (count) => count > 500)
  await first.kill()
  await publishing
  await using second = await startTestBridge(settings, directory)
  await broker.untilQueue(names.queue, (state) => state.messages === 0)
  const events: { readonly data: unknown }[] = []
  for (let after = ''; ; ) {
    const { body } = await second.call('GET', `/v1/users/7/events?limit=1000${after}`)
    const page = Object(body).events as readonly { readonly data: unknown; readonly offset: string }[]
    events.push(...page)
    const last = page.at(-1)
    if (last === undefined) break
    after = `&after=${last.offset}`
  }
  expect(events.map(({ data }) => data)).toEqual(range(0, total))
  await rm(directory, { recursive: true, force: true })
})
