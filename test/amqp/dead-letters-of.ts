import type { Broker } from '../support/broker.ts'

/** What the first `count` dead letters say, in order. Waits until there are so many. */
export async function deadLettersOf(broker: Broker, queue: string, count: number): Promise<readonly string[]> {
  const connection = await broker.connect()
  const channel = await connection.createChannel()
  const letters: string[] = []
  await new Promise<void>((resolve) => {
    void channel.consume(queue, (message) => {
      letters.push(String(message?.properties.headers?.['sidecast-error']))
      if (letters.length === count) resolve()
    })
  })
  await connection.close()
  return letters
}
