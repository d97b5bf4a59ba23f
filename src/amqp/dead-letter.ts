import { hash } from 'node:crypto'
import type { GetMessage, Options } from 'amqplib'
import { deadLetterHeaders } from './dead-letters.ts'

/** A message that could not be delivered, as an operator sees it. */
export interface DeadLetter {
  /** Its place in the queue, from 1. */
  readonly position: number
  /** The same each time that it is looked at. */
  readonly id: string
  readonly messageId?: string
  /** When it was given up. */
  readonly time?: Date
  /** Why: one of our codes, or the broker's word for its reason. */
  readonly code: string
  readonly text: string
  /** Where it had been published to. */
  readonly exchange: string
  readonly routingKey: string
  readonly content: Buffer
  /** Those that it came with, and those that were added when it was given up. */
  readonly headers: Readonly<Record<string, unknown>>
  /** Other properties that it has. */
  readonly properties: Readonly<Record<string, unknown>>
}

/** What the broker adds when it gives a message up itself, and when it delivers one again. */
const brokerHeaders = /^x-(death|first-death-.+|last-death-.+|delivery-count|acquired-count)$/
const keptProperties = ['contentType', 'contentEncoding', 'priority', 'correlationId', 'replyTo', 'messageId', 'timestamp', 'type', 'appId']
const ownHeaders: readonly string[] = Object.values(deadLetterHeaders)

export function toDeadLetter({ fields, properties, content }: GetMessage, position: number): DeadLetter {
  const { headers = {}, ...others } = properties
  const set = Object.fromEntries(Object.entries(others).filter(([, value]) => value !== undefined && value !== ''))
  const messageId = typeof set.messageId === 'string' ? { messageId: set.messageId } : {}
  const common = { position, content, headers, properties: set, ...messageId }
  const error = headers[deadLetterHeaders.error]
  if (typeof error === 'string') {
    const [code = '', ...text] = error.split(': ')
    const time = new Date(String(headers[deadLetterHeaders.time]))
    return {
      ...common,
      id: String(headers[deadLetterHeaders.id]),
      ...(Number.isNaN(time.getTime()) ? {} : { time }),
      code,
      text: text.join(': '),
      exchange: String(headers[deadLetterHeaders.exchange] ?? ''),
      routingKey: String(headers[deadLetterHeaders.routingKey] ?? fields.routingKey),
    }
  }

  const death = toDeath(headers['x-death'])
  const { exchange = fields.exchange, routingKey = fields.routingKey } = death
  return {
    ...common,
    id: `broker-${hash('sha256', `${exchange} ${routingKey} ${set.messageId} ${set.timestamp} ${death.time?.getTime()} ${content.toString('base64')}`).slice(0, 12)}`,
    ...(death.time === undefined ? {} : { time: death.time }),
    code: death.reason ?? 'unknown',
    text:
      death.reason === undefined
        ? 'neither the bridge nor the broker says why it is here'
        : `given up by the broker, not by the bridge: it left the queue ${death.queue}`,
    exchange,
    routingKey,
  }
}

interface Death {
  readonly reason?: string
  readonly queue?: string
  readonly exchange?: string
  readonly routingKey?: string
  readonly time?: Date
}

/** The latest of what the broker wrote about the queues that a message has died in. */
function toDeath(deaths: unknown): Death {
  const latest: unknown = Array.isArray(deaths) ? deaths[0] : undefined
  if (typeof latest !== 'object' || latest === null) return {}
  const { reason, queue, exchange, 'routing-keys': keys, time }: Readonly<Record<string, unknown>> = { ...latest }
  const routingKey: unknown = Array.isArray(keys) ? keys[0] : undefined
  // So the client library marks a timestamp.
  const seconds = typeof time === 'object' && time !== null && 'value' in time ? Number(time.value) : Number.NaN
  return {
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(typeof queue === 'string' ? { queue } : {}),
    ...(typeof exchange === 'string' ? { exchange } : {}),
    ...(typeof routingKey === 'string' ? { routingKey } : {}),
    ...(Number.isFinite(seconds) ? { time: new Date(seconds * 1000) } : {}),
  }
}

/**
 * The message as its publisher had sent it. Without the user, which the broker takes from nobody but that user, and without the expiration, which has passed
 * or would pass again before anybody has seen to it.
 */
export function toOriginal({ headers, properties }: DeadLetter): Options.Publish {
  const kept = Object.entries(properties).filter(([name]) => keptProperties.includes(name))
  const original = Object.entries(headers).filter(([name]) => !ownHeaders.includes(name) && !brokerHeaders.test(name))
  return { ...Object.fromEntries(kept), headers: Object.fromEntries(original), persistent: true, mandatory: true }
}
