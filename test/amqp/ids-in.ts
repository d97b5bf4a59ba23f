import type { Broker } from '../support/broker.ts'

/** The ids of all that stands there, each as often as it does. */
export async function idsIn(broker: Broker, queue: string): Promise<readonly string[]> {
  const connection = await broker.connect()
  const channel = await connection.createChannel()
  const { messageCount } = await channel.checkQueue(queue)
  const ids: string[] = []
  for (let left = messageCount; left > 0; left--) {
    const message = await channel.get(queue)
    if (message !== false) ids.push(String(message.properties.messageId))
  }
  await connection.close()
  return ids
}
