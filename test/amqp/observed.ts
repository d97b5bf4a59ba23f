import { setTimeout } from 'node:timers/promises'
import type { Broker } from '../support/broker.ts'

interface Observable {
  readonly privateUrl: string
}

/** What `/readyz` says about the consumer; undefined: it is attached. */
export async function consumerFailure({ privateUrl }: Observable): Promise<string | undefined> {
  const response = await fetch(`${privateUrl}/readyz`)
  const { failing = [] } = (await response.json()) as { readonly failing?: readonly { readonly name: string; readonly failure: string }[] }
  return failing.find(({ name }) => name === 'amqp')?.failure
}

export async function untilAttached(bridge: Observable): Promise<void> {
  while ((await consumerFailure(bridge)) !== undefined) await setTimeout(20)
}

/** Resolves with what `/readyz` says when that has the text in it. */
export async function untilFailing(bridge: Observable, text: string): Promise<string> {
  for (;;) {
    const failure = await consumerFailure(bridge)
    if (failure?.includes(text)) return failure
    await setTimeout(20)
  }
}

/** The sum of a metric of the AMQP ingress over its labels. */
export async function amqpMetric({ privateUrl }: Observable, name: string): Promise<number> {
  const lines = (await (await fetch(`${privateUrl}/metrics`)).text())
    .split('\n')
    .filter((line) => /^[a-z_]+/.exec(line)?.[0] === `sidecast_amqp_${name}`)
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

export async function untilMetric(bridge: Observable, name: string, holds: (value: number) => boolean): Promise<number> {
  for (;;) {
    const value = await amqpMetric(bridge, name)
    if (holds(value)) return value
    await setTimeout(20)
  }
}

export interface Message {
  readonly body: string
  readonly key?: string
  readonly id?: string
  readonly properties?: Readonly<Record<string, unknown>>
}

/** Publishes with confirms: when it resolves, the broker has them. */
export async function publishTo(broker: Broker, exchange: string, messages: readonly Message[]): Promise<void> {
  const connection = await broker.connect()
  const channel = await connection.createConfirmChannel()
  for (const { body, key = '', id, properties } of messages) {
    channel.publish(exchange, key, Buffer.from(body), { persistent: true, ...properties, ...(id === undefined ? {} : { messageId: id }) })
  }
  await channel.waitForConfirms()
  await connection.close()
}

/** An event for the user 7, which is told by its number. */
export const numbered = (n: number, id?: string): Message => ({ key: 'user.7.numbered', body: String(n), ...(id === undefined ? {} : { id }) })
