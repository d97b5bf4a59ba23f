import { setTimeout } from 'node:timers/promises'
import { startTestBridge, type TestBridge } from '../support/bridge.ts'
import type { Broker, Names } from '../support/broker.ts'

/** A bridge that consumes from queues of its own, ready to. */
export async function startConsumingBridge(
  broker: Broker,
  settings: Readonly<Record<string, string>> = {},
): Promise<TestBridge & { readonly names: Names }> {
  const names = broker.names()
  const bridge = await startTestBridge({ AMQP_URL: broker.url, ...names.settings, ...settings })
  while ((await fetch(`${bridge.privateUrl}/readyz`)).status !== 200) await setTimeout(20)
  return { ...bridge, names }
}
