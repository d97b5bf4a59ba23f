import { afterAll, beforeAll, expect, test } from 'vitest'
import { login, type TestBridge } from '../support/bridge.ts'
import { type Broker, type Names, type Permissions, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { deadLettersOf } from './dead-letters-of.ts'

// The permissions of docs/rabbitmq.md, with the names of the test.
let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

const exactly = (...names: readonly string[]): string => `^(${names.map((name) => name.replaceAll('.', '\\.')).join('|')})$`
const nothing = '^$'

const permissionsOf = ({ exchange, queue, deadLetter }: Names) => ({
  asserting: { configure: exactly(exchange, queue, deadLetter), write: exactly(queue, deadLetter), read: exactly(exchange, queue, deadLetter) },
  running: { configure: nothing, write: exactly(deadLetter), read: exactly(queue) },
  publishing: { configure: nothing, write: exactly(exchange), read: nothing },
})

async function addUser(user: string, permissions: Permissions): Promise<string> {
  const password = 'only-for-this-test'
  await broker.addUser(user, password, permissions)
  return broker.urlFor({ user, password })
}

/** An event arrives and poison is accounted for, published by a user that may do nothing but that. */
async function expectWorking(bridge: TestBridge, names: Names): Promise<void> {
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  const connection = await broker.connect(await addUser(`publisher-${names.exchange}`, permissionsOf(names).publishing))
  const channel = await connection.createConfirmChannel()
  channel.publish(names.exchange, 'user.42.poison', Buffer.from('hello'))
  channel.publish(names.exchange, 'user.42.order', Buffer.from('1'))
  await channel.waitForConfirms()
  await connection.close()
  expect(await session.event()).toMatchObject({ event: 'order', data: 1 })
  expect(await deadLettersOf(broker, names.deadLetter, 1)).toEqual([expect.stringMatching(/^invalid_json/)])
}

test('with topology assert the bridge needs its own names and nothing else', async () => {
  const names = broker.names()
  const url = await addUser(`bridge-${names.exchange}`, permissionsOf(names).asserting)
  await using bridge = await startConsumingBridge(broker, { ...names.settings, AMQP_URL: url })
  await expectWorking(bridge, names)
})

test.each(['check', 'none'])('with topology %s the bridge reads one queue and writes dead letters', async (topology) => {
  const names = broker.names()
  // What an operator has declared.
  await (await startConsumingBridge(broker, names.settings))[Symbol.asyncDispose]()
  const url = await addUser(`bridge-${names.exchange}`, permissionsOf(names).running)
  await using bridge = await startConsumingBridge(broker, { ...names.settings, AMQP_URL: url, AMQP_TOPOLOGY: topology })
  await expectWorking(bridge, names)
})
