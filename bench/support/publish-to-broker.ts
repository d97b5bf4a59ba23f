import { connect } from 'amqplib'
import { nowMicros } from './clock.ts'
import { type Accepted, type PublishOrder, toData } from './publish-order.ts'

/** Messages that may wait for the broker to confirm them. */
const window = 2000

/** Each to a user by its routing key, persistent, and confirmed. */
export async function publishToBroker(order: PublishOrder): Promise<Accepted> {
  const { url, exchange = '', first, events, to } = order
  const users = 'users' in to ? to.users : 1
  const connection = await connect(url)
  try {
    const channel = await connection.createConfirmChannel()
    const startedAt = nowMicros()
    let accepted = 0
    let sum = 0
    let wake: (() => void) | undefined
    for (let sent = 0; sent < events; sent++) {
      const number = first + sent
      const options = { persistent: true, contentType: 'application/json', messageId: `bench-${startedAt}-${number}` }
      channel.publish(exchange, `user.${number % users}.tick`, Buffer.from(toData(order, number, nowMicros())), options, (error) => {
        if (error !== null) return
        accepted++
        sum += number
        wake?.()
      })
      if (sent + 1 - accepted < window) continue
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    await channel.waitForConfirms()
    return { accepted, sum, startedAt }
  } finally {
    await connection.close()
  }
}
