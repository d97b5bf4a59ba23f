import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { createMessageParser, type Delivery } from '../../src/amqp/message.ts'
import { createDraftParser } from '../../src/core/draft.ts'
import { createRevocationParser } from '../../src/core/revocation-request.ts'

export const maxEventBytes = 256 * 1024

const openapi: object = parse(readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8'))

export const parseMessage = createMessageParser({
  parseDraft: createDraftParser(openapi, { maxEventBytes }),
  parseRevocation: createRevocationParser(openapi),
  maxEventBytes,
})

export interface Sent {
  readonly key?: string
  readonly exchange?: string
  readonly body?: string | Buffer
  readonly headers?: Readonly<Record<string, unknown>>
  readonly properties?: Readonly<Record<string, unknown>>
}

/** A message as the client library hands it over: every property is there, those that were not sent are undefined. */
export function delivery({ key = '', exchange = 'sidecast', body = '', headers, properties }: Sent): Delivery {
  const none = Object.fromEntries(
    ['contentType', 'contentEncoding', 'correlationId', 'replyTo', 'expiration', 'messageId', 'timestamp', 'type', 'userId', 'appId'].map((name) => [
      name,
      undefined,
    ]),
  )
  return {
    content: Buffer.from(body),
    fields: { routingKey: key, exchange, redelivered: false },
    properties: { ...none, ...properties, headers },
  }
}

export const parseSent = (sent: Sent) => parseMessage(delivery(sent))

/** The draft of a message that has to be an event. */
export function draftOf(sent: Sent) {
  const instruction = parseSent(sent)
  if (instruction.kind !== 'event') throw new Error(`not an event but a ${instruction.kind}`)
  return instruction.draft
}
