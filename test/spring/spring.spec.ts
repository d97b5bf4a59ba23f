import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startConsumingBridge } from '../amqp/consuming-bridge.ts'
import { deadLettersOf } from '../amqp/dead-letters-of.ts'
import { runProgram } from '../examples/run-program.ts'
import { login } from '../support/bridge.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'

const project = 'examples/java/spring'
const jar = `${project}/target/realtime.jar`
let broker: Broker
let classpath: string

beforeAll(async () => {
  broker = await startBroker()
  const goals = ['package', 'dependency:build-classpath', '-Dmdep.outputFile=target/classpath']
  const { exitCode, output, errors } = await runProgram('mvn', ['-q', '-B', '-f', `${project}/pom.xml`, ...goals])
  expect(exitCode, output + errors).toBe(0)
  classpath = await readFile(`${project}/target/classpath`, 'utf8')
}, 600_000)
afterAll(() => broker?.close())

test('the Spring Boot example publishes with confirms to a user and to a room', async () => {
  await using bridge = await startConsumingBridge(broker)
  const user = 'a.b%2E'
  await using session = connectSession(bridge.publicUrl, { token: login(user, { rooms: ['orders'] }) })
  await session.notice('sidecast:ready')
  const { exitCode, output, errors } = await runProgram('java', ['-jar', jar, user], {
    AMQP_URL: broker.url,
    SIDECAST_AMQP_EXCHANGE: bridge.names.exchange,
  })
  expect(exitCode, output + errors).toBe(0)
  expect(output).toContain('published 2 events')
  await session.event(2)
  expect(session.received).toMatchObject([
    { event: 'order.shipped', data: { carrier: 'DHL' } },
    { event: 'order.shipped', data: { order: 8, carrier: 'UPS' } },
  ])
})

test('the Spring Boot example fails when no queue is bound', async () => {
  const { exchange } = broker.names()
  const channel = await (await broker.connect()).createChannel()
  await channel.assertExchange(exchange, 'topic', { autoDelete: false })
  const { exitCode, output, errors } = await runProgram('java', ['-jar', jar], { AMQP_URL: broker.url, SIDECAST_AMQP_EXCHANGE: exchange })
  expect(exitCode).toBe(1)
  expect(output + errors).toContain(`No queue is bound to the exchange ${exchange}.`)
  await channel.deleteExchange(exchange)
})

test('whatever the converters of Spring send is an event, or a dead letter that says why', async () => {
  await using bridge = await startConsumingBridge(broker)
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  const packets: string[] = []
  session.socket.io.engine.on('packet', ({ data }: { readonly data?: unknown }) => packets.push(String(data)))
  const { exitCode, errors } = await runProgram('java', ['-cp', classpath, 'test/spring/SpringForms.java', broker.url, bridge.names.exchange])
  expect(exitCode, errors).toBe(0)
  await session.until(() => session.received.at(-1)?.event === 'end')

  const shipped = '{"order":9223372036854775807,"price":12345678901234567890.10}'
  const arrived = [
    ['object', shipped],
    ['OrderShipped', shipped],
    ['string', '{"order":9007199254740993}'],
    ['text', '"hello"'],
    ['list', `[${shipped},${shipped}]`],
    ['map', '{"a":1}'],
    ['headers', shipped],
    ['simple', '{"a":1}'],
    ['bytes', '{"a":2}'],
    ['end', 'null'],
  ] as const
  expect(session.received.map(({ event }) => event)).toEqual(arrived.map(([event]) => event))
  for (const [event, data] of arrived) expect(packets.join('\n')).toContain(`["${event}",${data},`)

  expect(await deadLettersOf(broker, bridge.names.deadLetter, 6)).toEqual([
    expect.stringMatching(/^invalid_event: no event is named.*library/),
    expect.stringMatching(/^invalid_event: sidecast-users is a timestamp/),
    expect.stringMatching(/^invalid_event: .*2\^53/),
    expect.stringMatching(/^invalid_json: .*quotation marks/),
    expect.stringMatching(/^unsupported_message: .*Jackson2JsonMessageConverter/),
    expect.stringMatching(/^unsupported_message: .*not compressed/),
  ])
})
