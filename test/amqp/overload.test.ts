import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPaused, publishUntilRefused } from '../gateway/paused-clients.ts'
import { login } from '../support/bridge.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { amqpMetric, numbered, publishTo, untilAttached, untilFailing } from './observed.ts'

let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

test('messages stay with the broker while too much waits for slow clients, and come in order when there is room', async () => {
  await using bridge = await startConsumingBridge(broker, { MAX_BUFFERED: '32mb', MAX_BUFFER: '16mb' })
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  const slow = await openPaused(bridge)
  await publishUntilRefused(bridge)
  const failing = untilFailing(bridge, 'too much waits in memory for slow clients')
  await publishTo(broker, bridge.names.exchange, [numbered(1), numbered(2), numbered(3)])
  await failing
  expect(await amqpMetric(bridge, 'appended_total')).toBe(0)

  for (const { raw } of slow) raw.tcp.resume()
  await session.event(3)
  expect(session.received.map(({ data }) => data)).toEqual([1, 2, 3])
  await untilAttached(bridge)
})
