import { afterAll, beforeAll, expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { type Broker, type Names, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { numbered, publishTo, untilAttached, untilFailing } from './observed.ts'

let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

const startAt = (names: Names, settings: Readonly<Record<string, string>> = {}) =>
  startTestBridge({ AMQP_URL: broker.url, ...names.settings, ...settings })

async function declare(work: (channel: Awaited<ReturnType<Awaited<ReturnType<Broker['connect']>>['createChannel']>>) => Promise<unknown>) {
  const connection = await broker.connect()
  await work(await connection.createChannel())
  await connection.close()
}

test('what is missing is declared: durable, replicated, consumed by one at a time, with a place for what cannot be delivered', async () => {
  await using bridge = await startConsumingBridge(broker)
  const { queue, deadLetter } = bridge.names
  expect(await broker.queue(queue)).toMatchObject({
    durable: true,
    consumers: 1,
    arguments: {
      'x-queue-type': 'quorum',
      'x-single-active-consumer': true,
      'x-dead-letter-exchange': deadLetter,
      'x-dead-letter-strategy': 'at-least-once',
    },
  })
  expect(await broker.queue(deadLetter)).toMatchObject({ durable: true, arguments: { 'x-queue-type': 'quorum' } })
  const exchanges = await broker.ctl('list_exchanges', 'name', 'type', 'durable')
  expect(exchanges).toContain(`${bridge.names.exchange}\ttopic\ttrue`)
  expect(exchanges).toContain(`${deadLetter}\tfanout\ttrue`)
})

test('a queue that is there with other arguments is left alone, and the difference is told', async () => {
  const names = broker.names()
  await declare((channel) => channel.assertQueue(names.queue, { durable: true }))
  await using bridge = await startAt(names)
  const failure = await untilFailing(bridge, 'is different')
  expect(failure).toContain(`the queue ${names.queue} is different: PRECONDITION_FAILED - inequivalent arg`)
  expect((await broker.queue(names.queue))?.arguments).not.toHaveProperty('x-single-active-consumer')
})

test('check declares nothing and names everything that is missing or different; once an operator has made it, it is consumed', async () => {
  const names = broker.names()
  await declare((channel) => channel.assertExchange(names.exchange, 'direct'))
  await using bridge = await startAt(names, { AMQP_TOPOLOGY: 'check' })
  const failure = await untilFailing(bridge, 'is missing')
  expect(failure).toContain(`the exchange ${names.deadLetter} is missing`)
  expect(failure).toContain(`the queue ${names.deadLetter} is missing`)
  expect(failure).toContain(`the queue ${names.queue} is missing`)
  expect(failure).toMatch(new RegExp(`the exchange ${names.exchange} is different: .*'type'.*'topic'.*'direct'`))
  expect(await broker.queue(names.queue)).toBeUndefined()

  await declare((channel) => channel.deleteExchange(names.exchange))
  await (await startConsumingBridge(broker, names.settings))[Symbol.asyncDispose]()
  await untilAttached(bridge)
})

test('none asks for nothing but the queue', async () => {
  const names = broker.names()
  await declare((channel) => channel.assertQueue(names.queue, { durable: false, arguments: { 'x-queue-type': 'classic' } }))
  await using bridge = await startAt(names, { AMQP_TOPOLOGY: 'none' })
  await untilAttached(bridge)
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  // The default exchange leads to every queue by its name.
  await publishTo(broker, '', [{ key: names.queue, body: '{"event":"direct","to":{"users":["7"]},"data":1}' }])
  expect(await session.event()).toMatchObject({ event: 'direct', data: 1 })
  expect(await broker.queue(names.deadLetter)).toBeUndefined()
})

test('exchanges of the application are bound as they are; one that is missing is told, not made', async () => {
  const names = broker.names()
  const [orders, news] = [`${names.exchange}.orders`, `${names.exchange}.news`]
  await declare((channel) => channel.assertExchange(orders, 'topic', { durable: false }))
  await using bridge = await startAt(names, { AMQP_BINDINGS: `${orders}:user.*.numbered,${news}:` })
  await untilFailing(bridge, `the exchange ${news} is missing`)
  await declare((channel) => channel.assertExchange(news, 'fanout'))
  await untilAttached(bridge)
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  await publishTo(broker, orders, [{ key: 'user.7.other', body: '0' }, numbered(1)])
  await publishTo(broker, news, [numbered(2)])
  await session.event(2)
  expect(session.received.map(({ data }) => data)).toEqual([1, 2])
  expect(await broker.ctl('list_exchanges', 'name')).not.toMatch(new RegExp(`^${names.exchange}$`, 'm'))
})
