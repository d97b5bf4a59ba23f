import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { BridgeError, type ErrorCode } from '../../src/errors.ts'
import { maxEventBytes, parseSent, type Sent } from './delivery.ts'

function refusalOf(sent: Sent): BridgeError {
  try {
    parseSent(sent)
  } catch (error) {
    if (error instanceof BridgeError) return error
    throw error
  }
  throw new Error('it was taken')
}

type Case = readonly [what: string, sent: Sent, code: ErrorCode, text: RegExp]

/** Each ends in the dead-letter queue with the code and the text. */
function refuses(cases: readonly Case[]): void {
  test.each(cases)('%s', (_, sent, code, text) => {
    const { message, ...error } = refusalOf(sent)
    expect(error.code, message).toBe(code)
    expect(message).toMatch(text)
  })
}

const key = 'user.42.e'

describe('a body that no browser can be given is refused, with the cure', () => {
  // What ObjectOutputStream writes.
  const java = Buffer.from('aced00057372001b636f6d2e6578616d706c652e73686f702e4f7264657253686970706564', 'hex')
  const envelope =
    'O:36:\\"Symfony\\\\Component\\\\Messenger\\\\Envelope\\":2:{s:44:\\"\\0Symfony\\\\Component\\\\Messenger\\\\Envelope\\0stamps\\";a:0:{}}'
  const job = {
    uuid: '2f3bd0a8-7f0c-4d32-b3ab-9c1a0fdd3f1d',
    displayName: 'App\\Jobs\\ShipOrder',
    job: 'Illuminate\\Queue\\CallQueuedHandler@call',
    maxTries: null,
    data: { commandName: 'App\\Jobs\\ShipOrder', command: 'O:18:"App\\Jobs\\ShipOrder":1:{s:5:"order";i:7;}' },
    id: 'Yx2bUZ',
  }
  refuses([
    [
      'Spring, default converter',
      { key, body: java, properties: { contentType: 'application/x-java-serialized-object' } },
      'unsupported_message',
      /Jackson2Json/,
    ],
    ['Symfony, default serializer', { key, body: envelope, properties: { contentType: 'text/plain' } }, 'unsupported_message', /symfony_serializer/],
    ['the same, not UTF-8', { key, body: Buffer.from(`${envelope}ü`, 'latin1').toString('base64') }, 'unsupported_message', /PHP-serialised/],
    ['PHP serialize() of an array', { key, body: 'a:1:{s:5:"order";i:7;}' }, 'unsupported_message', /PHP-serialised: send json_encode/],
    ['PHP serialize() of a string', { key, body: 's:5:"order";' }, 'unsupported_message', /PHP-serialised/],
    ['a Laravel job', { key, body: JSON.stringify(job), headers: { laravel: { attempts: 0 } } }, 'unsupported_message', /Laravel queue job/],
    ['a Laravel job in a JSON string', { key, body: JSON.stringify(JSON.stringify(job)) }, 'unsupported_message', /Laravel queue job/],
    ['gzip that says so', { key, body: gzipSync('{}'), properties: { contentEncoding: 'gzip' } }, 'unsupported_message', /not compressed/],
    ['gzip by Spring', { key, body: gzipSync('{}'), properties: { contentEncoding: 'gzip:UTF-8' } }, 'unsupported_message', /not compressed/],
    ['gzip that does not say so', { key, body: gzipSync('{}') }, 'unsupported_message', /gzip/],
    ['another charset', { key, body: '{}', properties: { contentEncoding: 'ISO-8859-1' } }, 'unsupported_message', /UTF-8/],
    ['protobuf', { key, body: Buffer.from('0a054f72646572100e', 'hex') }, 'unsupported_message', /binary/],
    ['an AMQP 1.0 map', { key, body: Buffer.from('005377c10100', 'hex'), properties: { type: 'amqp-1.0' } }, 'unsupported_message', /AMQP 1\.0/],
    [
      'an AMQP 1.0 section that is cut off',
      { key, body: Buffer.from('005377a105', 'hex'), properties: { type: 'amqp-1.0' } },
      'unsupported_message',
      /AMQP 1\.0/,
    ],
    ['plain text', { key, body: 'hello' }, 'invalid_json', /not JSON.*quotation marks/],
    ['XML', { key, body: '<order/>' }, 'invalid_json', /not JSON/],
    ['JSON with an error', { key, body: '{"a":1,}' }, 'invalid_json', /goes wrong at position 7 /],
    ['two JSON values', { key, body: '{}{}' }, 'invalid_json', /goes wrong at position 2 /],
    ['blank text', { key, body: ' \n' }, 'invalid_json', /not JSON/],
    ['Latin-1', { key, body: Buffer.from('{"name":"Jürgen"}', 'latin1') }, 'invalid_json', /not UTF-8/],
    ['UTF-16', { key, body: Buffer.from('{"a":1}', 'utf16le') }, 'invalid_json', /not JSON/],
    ['a byte order mark', { key, body: '\ufeff{}' }, 'invalid_json', /byte order mark/],
    ['too large', { key, body: JSON.stringify('x'.repeat(maxEventBytes)) }, 'event_too_large', /limit is 262144.*routing key/],
    ['far too large', { key, body: Buffer.alloc(maxEventBytes * 3, 0x20) }, 'event_too_large', /the body is 786432 bytes/],
    ['nested too deep', { key, body: `${'['.repeat(65)}${']'.repeat(65)}` }, 'invalid_event', /deeper than 64/],
    ['hostile nesting', { key, body: '['.repeat(100_000) }, 'invalid_json', /not JSON/],
    ['a key that changes prototypes', { key, body: '{"__proto__":{"admin":true}}' }, 'invalid_event', /prototype/],
  ])

  test('and the text does not quote it: it may be secret, and the text is logged', () => {
    expect(refusalOf({ key, body: 'secret-1234' }).message).not.toContain('secret')
    expect(refusalOf({ key, body: '{"password":"hunter2",}' }).message).not.toContain('hunter')
  })
})

describe('a message that names nobody, or badly, is refused', () => {
  const body = '{"a":1}'
  refuses([
    ['no routing key at all', { body }, 'no_target', /routing key "" is not user\.<id>/],
    ['the name of a queue for a routing key', { body, key: 'sidecast.events' }, 'no_target', /"sidecast\.events"/],
    ['user without an id', { body, key: 'user' }, 'no_target', /"user"/],
    ['only an event', { body, headers: { 'sidecast-event': 'e' } }, 'no_target', /nobody/],
    [
      'a CloudEvent without a target',
      { body, headers: { 'ce-specversion': '1.0', 'ce-type': 'e', 'ce-source': 's', 'ce-id': '1' } },
      'no_target',
      /sidecastusers/,
    ],
    ['all set to false', { body, headers: { 'sidecast-event': 'e', 'sidecast-all': false } }, 'no_target', /nobody/],
    ['an empty array of users', { body, key, headers: { 'sidecast-users': [] } }, 'invalid_event', /names nobody.*sidecast-\* headers/],
    ['an empty list of users', { body, key, headers: { 'sidecast-users': '' } }, 'invalid_event', /\/to\/users\/0 must be 1 to 200/],
    ['an empty id in the key', { body, key: 'user..e' }, 'invalid_event', /\/to\/users\/0 must be 1 to 200.*routing key "user\.\.e"/],
    ['a key with a broken escape', { body, key: 'user.100%.e' }, 'invalid_event', /broken escape.*%25/],
    ['a key that is not UTF-8', { body, key: 'user.J\ufffdrgen.e' }, 'invalid_event', /routing key is not UTF-8/],
    [
      'a misspelt header',
      { body, key, headers: { 'sidecast-user': '42' } },
      'invalid_event',
      /sidecast-user is not known; known are .*sidecast-users/,
    ],
    [
      'a misspelt CloudEvents attribute',
      { body, key, headers: { 'ce-specversion': '1.0', 'ce-type': 'e', 'ce-source': 's', 'ce-id': '1', 'ce-sidecastuser': '1' } },
      'invalid_event',
      /sidecastuser is not known/,
    ],
    ['a user that is a Long beyond 2^53', { body, headers: { 'sidecast-event': 'e', 'sidecast-users': 2 ** 53 } }, 'invalid_event', /2\^53/],
    ['a user that is a fraction', { body, headers: { 'sidecast-event': 'e', 'sidecast-users': 4.5 } }, 'invalid_event', /\/to\/users\/0/],
    [
      'a user that is a timestamp',
      { body, key, headers: { 'sidecast-users': { '!': 'timestamp', value: 1 } } },
      'invalid_event',
      /sidecast-users is a timestamp/,
    ],
    [
      'a user that is a decimal',
      { body, key, headers: { 'sidecast-users': [{ '!': 'decimal', value: { places: 0, digits: 1 } }] } },
      'invalid_event',
      /sidecast-users\[0\] is a decimal/,
    ],
    ['a user that is a table', { body, key, headers: { 'sidecast-users': { id: 42 } } }, 'invalid_event', /sidecast-users is a table/],
    ['a user that is null', { body, key, headers: { 'sidecast-users': null } }, 'invalid_event', /sidecast-users is empty/],
    ['users in arrays in an array', { body, key, headers: { 'sidecast-users': [['1']] } }, 'invalid_event', /sidecast-users\[0\] is an array/],
    ['users that are true', { body, key, headers: { 'sidecast-users': true } }, 'invalid_event', /sidecast-users is a boolean/],
    ['users that are not UTF-8', { body, key, headers: { 'sidecast-users': Buffer.from([0xff]) } }, 'invalid_event', /bytes that are not UTF-8/],
    ['all that is neither true nor false', { body, key, headers: { 'sidecast-all': 'yes' } }, 'invalid_event', /sidecast-all .*true or false/],
    ['all that is a number', { body, key, headers: { 'sidecast-all': 1 } }, 'invalid_event', /sidecast-all is a number; it has to be true or false/],
    ['users twice', { body, key, headers: { 'sidecast-users': 42, 'Sidecast-Users': 7 } }, 'invalid_event', /sidecast-users is there twice/],
    [
      'a CloudEvents attribute twice',
      {
        body,
        headers: {
          'ce-specversion': '1.0',
          'ce-type': 'e',
          'ce-source': 's',
          'ce-id': '1',
          'ce-sidecastusers': '1',
          'cloudEvents:sidecastusers': '2',
        },
      },
      'invalid_event',
      /the attribute sidecastusers of CloudEvents is there twice/,
    ],
    ['an envelope whose target is wrong', { body: '{"event":"e","to":"42"}' }, 'invalid_event', /\/to must be an object \(in an envelope\)/],
    ['an envelope with a field too many', { body: '{"event":"e","to":{"all":true},"extra":1}' }, 'invalid_event', /\/extra is not a known field/],
    ['an envelope that rounds a user', { body: '{"event":"e","to":{"users":[9007199254740993]}}' }, 'invalid_event', /2\^53/],
    ['a message_id with a space', { body, key, properties: { messageId: 'a b' } }, 'invalid_event', /\/id must be 1 to 200 visible/],
  ])
})

describe('a message without a good event name is refused', () => {
  const ce = { 'ce-specversion': '1.0', 'ce-source': 's', 'ce-id': '1', 'ce-sidecastusers': '42' }
  refuses([
    ['none anywhere', { key: 'user.42' }, 'invalid_event', /no event is named: the routing key "user\.42"/],
    ['a map by Spring', { key: 'user.42', headers: { __TypeId__: 'java.util.HashMap' } }, 'invalid_event', /__TypeId__ names a class of a library/],
    [
      'the type of a converted message',
      { key: 'user.42', body: Buffer.from('005377a10131', 'hex'), properties: { type: 'amqp-1.0' } },
      'invalid_event',
      /no event is named/,
    ],
    ['a name with a space', { key: 'user.42.order shipped' }, 'invalid_event', /\/event must be a letter.*routing key/],
    ['a name of our own', { key: 'user.42.sidecast:ready' }, 'invalid_event', /\/event must/],
    ['a name of Socket.IO', { key: 'user.42.disconnect' }, 'invalid_event', /\/event must/],
    ['a CloudEvents type with a slash', { headers: { ...ce, 'ce-type': 'com.example/order' } }, 'invalid_event', /\/event must.*in a CloudEvent/],
    ['a CloudEvent without a type', { headers: ce }, 'invalid_event', /attribute type is required/],
    ['a CloudEvent without an id', { headers: { ...ce, 'ce-type': 'e', 'ce-id': '' } }, 'invalid_event', /attribute id is required/],
    ['a CloudEvent without a version', { headers: { 'ce-type': 'e' } }, 'invalid_event', /attribute specversion is required/],
    [
      'a CloudEvent of another version',
      { headers: { ...ce, 'ce-type': 'e', 'ce-specversion': '0.3' } },
      'unsupported_message',
      /"0\.3"; 1\.0 is taken/,
    ],
    [
      'a batch of CloudEvents',
      { body: '[]', properties: { contentType: 'application/cloudevents-batch+json' } },
      'unsupported_message',
      /one by one/,
    ],
    [
      'a structured CloudEvent that is no object',
      { body: '[]', properties: { contentType: 'application/cloudevents+json' } },
      'invalid_event',
      /JSON object/,
    ],
    [
      'a CloudEvent with two data',
      { body: '{"specversion":"1.0","data":1,"data_base64":"MQ=="}', properties: { contentType: 'application/cloudevents+json' } },
      'invalid_event',
      /not both/,
    ],
    [
      'a CloudEvent with bad base64',
      { body: '{"specversion":"1.0","data_base64":"*"}', properties: { contentType: 'application/cloudevents+json' } },
      'invalid_event',
      /not base64/,
    ],
  ])
})

describe('a command that cannot be carried out is refused', () => {
  const headers = (command: unknown, rest = {}) => ({ headers: { 'sidecast-command': command, ...rest } })
  refuses([
    ['one that is not known', headers('kick', { 'sidecast-users': '42' }), 'invalid_command', /"kick" cannot be carried out.*join and leave/],
    ['nobody', { ...headers('disconnect'), key: 'user.42' }, 'invalid_command', /names nobody/],
    ['two users', headers('join', { 'sidecast-users': '42,43', 'sidecast-rooms': 'r' }), 'invalid_command', /one user/],
    ['no room', headers('join', { 'sidecast-users': '42' }), 'invalid_command', /one room/],
    ['two rooms', headers('leave', { 'sidecast-users': '42', 'sidecast-rooms': ['a', 'b'] }), 'invalid_command', /one room/],
    [
      'a session into a room',
      headers('join', { 'sidecast-users': '1', 'sidecast-sessions': 's', 'sidecast-rooms': 'r' }),
      'invalid_command',
      /one user/,
    ],
    ['everybody', headers('disconnect', { 'sidecast-users': '42', 'sidecast-all': true }), 'invalid_command', /disconnect needs one user/],
    ['a user and a session', headers('disconnect', { 'sidecast-users': '42', 'sidecast-sessions': 's' }), 'invalid_command', /or one session/],
    ['a room', headers('disconnect', { 'sidecast-rooms': 'r' }), 'invalid_command', /disconnect needs one user/],
    ['a bad name', headers('disconnect', { 'sidecast-users': '\n' }), 'invalid_event', /\/to\/users\/0/],
    ['an event too', headers('join', { 'sidecast-event': 'e', 'sidecast-users': '1', 'sidecast-rooms': 'r' }), 'invalid_command', /not both/],
    ['none', headers(null), 'invalid_event', /sidecast-command is empty/],
  ])
})
