import { afterAll, beforeAll, expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { publishTo, untilFailing } from './observed.ts'

let broker: Broker
beforeAll(async () => {
  broker = await startBroker({ tls: true })
})
afterAll(() => broker?.close())

const urlOf = (host: string): string => `amqps://guest:guest@${host}:${broker.tls?.port}`

test('over TLS, with the authority that the broker is to be trusted by, events arrive', async () => {
  await using bridge = await startConsumingBridge(broker, { AMQP_URL: urlOf('127.0.0.1'), AMQP_CA: broker.tls?.ca ?? '' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  await publishTo(broker, bridge.names.exchange, [{ key: 'user.42.order', body: '1' }])
  expect(await session.event()).toMatchObject({ event: 'order', data: 1 })
  expect(JSON.parse(await broker.ctl('list_connections', '--formatter=json', 'ssl', 'port'))).toContainEqual({ ssl: true, port: broker.tls?.port })
})

test.each([
  ['that no authority has signed for', '127.0.0.1', false, /certificate/],
  ['that shows the certificate of another name', 'localhost', true, /altnames|certificate/],
])('a broker %s gets no password, and readiness says why', async (_, host, isTrusted, reason) => {
  const { settings } = broker.names()
  await using bridge = await startTestBridge({ AMQP_URL: urlOf(host), ...(isTrusted ? { AMQP_CA: broker.tls?.ca ?? '' } : {}), ...settings })
  expect(await untilFailing(bridge, 'cert')).toMatch(reason)
  expect(await broker.connections()).toBe(0)
})
