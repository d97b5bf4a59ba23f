import { afterAll, beforeAll, expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { deadLettersOf } from './dead-letters-of.ts'

// The same forms as in message-forms.test.ts, here over a broker: each type of a header comes out of the protocol's own encoding.
let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

const typed = (type: string, value: unknown) => ({ '!': type, value })

test('every type that a header can have is understood, or refused with its name; the messages around it flow on', async () => {
  await using bridge = await startConsumingBridge(broker)
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  const connection = await broker.connect()
  const channel = await connection.createConfirmChannel()
  const publish = (event: string, users: unknown): void => {
    channel.publish(bridge.names.exchange, '', Buffer.from('1'), { headers: { 'sidecast-event': event, 'sidecast-users': users } })
  }
  const taken = { byte: 42, short: 42, int: 42, long: 42, uint8: 42, uint16: 42, uint32: 42, double: 42 }
  for (const [type, value] of Object.entries(taken)) publish(type, typed(type, value))
  publish('text', '41, 42')
  publish('bytes', Buffer.from('42'))
  publish('array', ['41', 42, typed('long', 43), Buffer.from('44')])

  publish('timestamp', typed('timestamp', 42))
  publish('decimal', typed('decimal', { digits: 42, places: 0 }))
  publish('table', { id: 42 })
  publish('boolean', true)
  publish('void', null)
  publish('fraction', 4.2)
  publish('large', typed('long', 9007199254740993n))
  publish('latin1', Buffer.from('J\xfcrgen', 'latin1'))
  publish('end', 42)
  await channel.waitForConfirms()

  await session.until(() => session.received.at(-1)?.event === 'end')
  expect(session.received.map(({ event }) => event)).toEqual([...Object.keys(taken), 'text', 'bytes', 'array', 'end'])
  const letters = await deadLettersOf(broker, bridge.names.deadLetter, 8)
  const reasons = ['a timestamp', 'a decimal', 'a table', 'a boolean', 'empty', 'integer', '2\\^53', 'not UTF-8']
  expect(letters).toEqual(reasons.map((reason) => expect.stringMatching(new RegExp(`^invalid_event: .*${reason}`))))
  await connection.close()
})

test('commands take effect in order with the events around them', async () => {
  await using bridge = await startConsumingBridge(broker)
  await using session = connectSession(bridge.publicUrl, { token: login('42'), reconnection: false })
  await session.notice('sidecast:ready')
  const connection = await broker.connect()
  const channel = await connection.createConfirmChannel()
  const publish = (key: string, headers: object = {}): void => {
    channel.publish(bridge.names.exchange, key, Buffer.alloc(0), { headers })
  }
  const member = { 'sidecast-users': 42, 'sidecast-rooms': 'order:7' }
  publish('room.order:7.before')
  publish('', { 'sidecast-command': 'join', ...member })
  publish('room.order:7.inside')
  publish('', { 'sidecast-command': 'leave', ...member })
  publish('room.order:7.after')
  publish('user.42.last')
  publish('', { 'sidecast-command': 'disconnect', 'sidecast-users': 42 })
  publish('user.42.too-late')
  await channel.waitForConfirms()
  await connection.close()

  await session.closed()
  expect(session.received.map(({ event }) => event)).toEqual(['inside', 'last'])
  expect((await session.notice('sidecast:joined')).data).toEqual({ room: 'order:7', by: 'backend' })
  expect((await session.notice('sidecast:left')).data).toEqual({ room: 'order:7', by: 'backend' })
  expect((await session.notice('sidecast:disconnect')).data).toMatchObject({ code: 'disconnected' })
})
