import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BridgeError } from '../../src/errors.ts'
import { delivery, parseMessage } from './delivery.ts'

const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array))
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('', '42', 'a,b', 'true', 'join', 'disconnect', '1.0', 'e', 'amqp-1.0'),
)

// Every type that a header can have after the client library has decoded it.
const { value } = fc.letrec((again) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    text,
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    bytes,
    fc.constantFrom({ '!': 'timestamp', value: 1 }, { '!': 'decimal', value: { places: 1, digits: 2 } }),
    fc.array(again('value'), { maxLength: 4 }),
    fc.dictionary(text, again('value'), { maxKeys: 4 }),
  ),
}))

const headerName = fc.oneof(
  text,
  fc.constantFrom('sidecast-command', 'sidecast-event', 'sidecast-users', 'sidecast-rooms', 'sidecast-all', 'sidecast-sessions', 'sidecast-volatile'),
  fc.constantFrom('ce-specversion', 'ce-type', 'ce-id', 'ce-source', 'cloudEvents:type', 'cloudEvents_id', 'ce-sidecastusers', 'type', '__TypeId__'),
)
const body = fc.oneof(
  bytes,
  fc.json().map((json) => Buffer.from(json)),
  fc.json().map((json) => Buffer.from(JSON.stringify(json))),
  fc
    .record({ event: fc.jsonValue(), to: fc.jsonValue(), data: fc.jsonValue(), id: fc.jsonValue() }, { requiredKeys: [] })
    .map((envelope) => Buffer.from(JSON.stringify(envelope))),
  fc
    .record(
      { specversion: fc.constant('1.0'), type: text, id: text, source: text, sidecastusers: fc.jsonValue(), data_base64: text },
      { requiredKeys: [] },
    )
    .map((event) => Buffer.from(JSON.stringify(event))),
)
const sent = fc.record(
  {
    body,
    key: fc.oneof(
      text,
      text.map((name) => `user.${name}.e`),
      text.map((name) => `room.${name}`),
      text.map((event) => `all.${event}`),
    ),
    headers: fc.dictionary(headerName, value, { maxKeys: 6 }),
    properties: fc.record(
      {
        contentType: fc.oneof(text, fc.constantFrom('application/json', 'application/cloudevents+json', 'application/cloudevents-batch+json')),
        contentEncoding: fc.oneof(text, fc.constantFrom('UTF-8', 'gzip')),
        messageId: text,
        type: text,
      },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: ['body', 'key'] },
)

test('whatever arrives, it is an instruction or a refusal that says why and is not retried', () => {
  const outcomes = new Set<string>()
  fc.assert(
    fc.property(sent, (message) => {
      try {
        outcomes.add(parseMessage(delivery(message)).kind)
      } catch (error) {
        if (!(error instanceof BridgeError)) throw error
        outcomes.add(error.code)
        expect(error.retryable).toBe(false)
        expect(error.message).not.toBe('')
      }
    }),
    { numRuns: 20_000 },
  )
  // The fuzz reaches both ends.
  expect([...outcomes]).toEqual(
    expect.arrayContaining(['event', 'invalid_event', 'invalid_json', 'no_target', 'unsupported_message', 'invalid_command']),
  )
})
