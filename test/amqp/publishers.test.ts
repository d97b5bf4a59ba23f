import { existsSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Outcome, runProgram } from '../examples/run-program.ts'
import { startQuickstart } from '../examples/start-quickstart.ts'
import { login } from '../support/bridge.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { startConsumingBridge } from './consuming-bridge.ts'

let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

// Debian's; the client logs through slf4j.
const classpath = ['amqp-client', 'slf4j-api', 'slf4j-nop']
  .map((name) => `/usr/share/java/${name}.jar`)
  .filter((path) => existsSync(path))
  .join(':')

const languages = [
  { language: 'Java', program: 'java', args: ['-cp', classpath, 'examples/java/AmqpPublish.java'] },
  { language: 'PHP', program: 'php', args: ['examples/php/amqp.php'] },
] as const

/** The text of the packets that the browser is sent from now on. */
function packetsOf(session: TestSession): readonly string[] {
  const packets: string[] = []
  session.socket.io.engine.on('packet', ({ data }: { readonly data?: unknown }) => packets.push(String(data)))
  return packets
}

describe.each(languages)('the $language example', ({ program, args }) => {
  const publish = (url: string, exchange: string, user = '42'): Promise<Outcome> =>
    runProgram(program, [...args, user], { AMQP_URL: url, SIDECAST_AMQP_EXCHANGE: exchange })

  test('publishes through RabbitMQ, and the user receives all of it, in order, with every digit', async () => {
    await using bridge = await startConsumingBridge(broker)
    const user = 'a.b%2E@example.com'
    await using session = connectSession(bridge.publicUrl, { token: login(user) })
    await using other = connectSession(bridge.publicUrl, { token: login('43') })
    await Promise.all([session.notice('sidecast:ready'), other.notice('sidecast:ready')])
    const packets = packetsOf(session)

    const { exitCode, output, errors } = await publish(broker.url, bridge.names.exchange, user)
    expect(errors).toBe('')
    expect(output).toBe('published 1 event\npublished 3 events\n')
    expect(exitCode).toBe(0)

    await session.event(4)
    await other.event(1)
    expect(session.received).toMatchObject([
      { event: 'order.updated', data: { order: 7, status: 'shipped' } },
      { event: 'order.created', data: { order: 8 } },
      { event: 'order.created', data: { order: 9 } },
      { event: 'order.closed', data: { order: 7 } },
    ])
    expect(other.received).toMatchObject([{ event: 'order.closed', data: { order: 7 } }])
    expect(packets.join()).toContain('{"order":8,"number":9007199254740993}')
  })

  test('says so when the exchange has no queue, and when there is no broker', async () => {
    const { exchange } = broker.names()
    const connection = await broker.connect()
    const channel = await connection.createChannel()
    await channel.assertExchange(exchange, 'topic')
    const unroutable = await publish(broker.url, exchange)
    expect(unroutable.errors).toContain(`no queue is bound to the exchange ${exchange}`)
    expect(unroutable.exitCode).toBe(1)
    await channel.deleteExchange(exchange)
    await connection.close()

    const away = await publish('amqp://guest:guest@127.0.0.1:1', exchange)
    expect(away.errors).toMatch(/^not published: /)
    expect(away.exitCode).toBe(1)
  })
})

test('amqp-publish reaches a user by the routing key, a room by headers, and several by an envelope', async () => {
  await using bridge = await startConsumingBridge(broker)
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['news'] }) })
  await session.notice('sidecast:ready')
  const publish = async (...args: readonly string[]): Promise<void> => {
    const { exitCode, errors } = await runProgram('amqp-publish', ['--url', broker.url, '--exchange', bridge.names.exchange, ...args])
    expect(exitCode, errors).toBe(0)
  }
  const packets = packetsOf(session)
  await publish('-r', 'user.42.order.shipped', '-b', '{"order": 9223372036854775807}')
  await publish('-r', 'anything', '-H', 'sidecast-event: posted', '-H', 'sidecast-rooms: news, sport', '-b', '{"title":"Hi"}')
  await publish('-r', '', '-b', '{"event":"both","to":{"users":[42,43]},"data":1}')
  await session.event(3)
  expect(session.received).toMatchObject([{ event: 'order.shipped' }, { event: 'posted', data: { title: 'Hi' } }, { event: 'both', data: 1 }])
  expect(packets.join()).toContain('{"order":9223372036854775807}')
})

test('applications that publish to exchanges of their own need no change: a fanout of Symfony and a topic with CloudEvents', async () => {
  const connection = await broker.connect()
  const channel = await connection.createConfirmChannel()
  const { exchange } = broker.names()
  const [messages, shop] = [`${exchange}.messages`, `${exchange}.shop`]
  await channel.assertExchange(messages, 'fanout')
  await channel.assertExchange(shop, 'topic')
  await using bridge = await startConsumingBridge(broker, { AMQP_BINDINGS: `${messages}:,${shop}:order.#` })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')

  const symfony = { contentType: 'application/json', persistent: true, headers: { type: 'App\\Message\\OrderShipped' } }
  channel.publish(messages, 'user.42', Buffer.from('{"order":7}'), symfony)
  const attributes = { specversion: '1.0', type: 'com.example.order.shipped', source: '/shop', id: '1', sidecastusers: '42' }
  const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`cloudEvents:${name}`, value]))
  // The second is the first once more, as far as CloudEvents are concerned; the third is not what the queue is bound to.
  for (const key of ['order.shipped.eu', 'order.shipped.us', 'invoice.paid']) channel.publish(shop, key, Buffer.from('{"order":8}'), { headers })
  channel.publish(shop, 'order.end', Buffer.from('{"event":"end","to":{"users":[42]}}'))
  await channel.waitForConfirms()

  await session.until(() => session.received.at(-1)?.event === 'end')
  expect(session.received).toMatchObject([
    { event: 'App\\Message\\OrderShipped', data: { order: 7 } },
    { event: 'com.example.order.shipped', data: { order: 8 } },
    { event: 'end' },
  ])
  for (const name of [messages, shop]) await channel.deleteExchange(name)
  await connection.close()
})

test('the quickstart consumes from the broker that its environment names, and says so without the password', async () => {
  const { settings, exchange } = broker.names()
  await using quickstart = await startQuickstart({ port: 15_000, demoPort: 20_080 }, undefined, { ...settings, AMQP_URL: broker.url })
  const { host, password } = new URL(broker.url)
  expect(quickstart.output).toMatch(new RegExp(`^ {3}RabbitMQ {3}${host}\\S* {3}.*SIDECAST_AMQP_URL`, 'm'))
  expect(quickstart.output).not.toContain(`:${password}@`)
  await using session = connectSession(quickstart.bridge, { token: quickstart.token })
  await session.notice('sidecast:ready')
  const channel = await (await broker.connect()).createChannel()
  channel.publish(exchange, 'user.42.order.shipped', Buffer.from('{"order":7}'))
  expect(await session.event()).toMatchObject({ event: 'order.shipped', data: { order: 7 } })
})
