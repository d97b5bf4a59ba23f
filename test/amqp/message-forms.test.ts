import { describe, expect, test } from 'vitest'
import { draftOf, parseSent } from './delivery.ts'

const nobody = { users: [], rooms: [], sessions: [], all: false }
const to42 = { ...nobody, users: ['42'] }

describe('a CloudEvent', () => {
  const attributes = { specversion: '1.0', type: 'com.example.order.shipped', source: '/shop', id: 'A-1' }
  const structured = (event: object) => ({ body: JSON.stringify(event), properties: { contentType: 'application/cloudevents+json; charset=UTF-8' } })

  test('in structured mode names its event, its id and its target', () => {
    expect(draftOf(structured({ ...attributes, sidecastusers: '42, 43', sidecastrooms: 'news', data: { order: 7 } }))).toEqual({
      event: 'com.example.order.shipped',
      id: '/shop|A-1',
      data: '{"order":7}',
      to: { ...nobody, users: ['42', '43'], rooms: ['news'] },
      except: { users: [], sessions: [] },
      volatile: false,
    })
  })

  test.each(['cloudEvents:', 'cloudEvents_', 'ce-'])('in binary mode with headers %s* is the same', (prefix) => {
    const headers = Object.fromEntries(
      Object.entries({ ...attributes, time: '2026-01-01T00:00:00Z', sidecastusers: '42' }).map(([name, value]) => [prefix + name, value]),
    )
    expect(draftOf({ headers, body: '{"order":7}', properties: { contentType: 'application/json' } })).toMatchObject({
      event: 'com.example.order.shipped',
      id: '/shop|A-1',
      data: '{"order":7}',
      to: to42,
    })
  })

  test('takes its target from the sidecast headers, and else from the routing key, whose event does not count', () => {
    const sent = structured({ ...attributes, data: 1 })
    expect(draftOf({ ...sent, key: 'user.42.ignored' })).toMatchObject({ event: 'com.example.order.shipped', to: to42 })
    expect(draftOf({ ...sent, key: 'room.x', headers: { 'sidecast-users': 42, 'sidecast-except-users': [7] } })).toMatchObject({
      to: to42,
      except: { users: ['7'], sessions: [] },
    })
  })

  test('has an id of its own, which comes before the message_id', () => {
    const sent = structured({ ...attributes, sidecastusers: 42 })
    expect(draftOf({ ...sent, properties: { ...sent.properties, messageId: 'm-1' } })).toMatchObject({ id: '/shop|A-1', data: 'null' })
  })

  test('with a source and an id that are long, or hold a space or a bar, still has one id, and another for another pair', () => {
    const ids = [
      { source: 'a|b', id: 'c' },
      { source: 'a', id: 'b|c' },
      { source: 'a', id: 'b c' },
      { source: `/${'x'.repeat(300)}`, id: 'c' },
      { source: `/${'x'.repeat(300)}`, id: 'd' },
    ].map((pair) => draftOf(structured({ ...attributes, ...pair, sidecastusers: 42 })).id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(draftOf(structured({ ...attributes, source: 'a|b', id: 'c', sidecastusers: 42 })).id).toBe(ids[0])
  })

  test('may carry its data as base64 of JSON', () => {
    const base64 = Buffer.from('{"id":9007199254740993}').toString('base64')
    expect(draftOf(structured({ ...attributes, sidecastusers: '42', data_base64: base64 })).data).toBe('{"id":9007199254740993}')
  })

  test('keeps a string that looks like JSON: the format says what is data', () => {
    expect(draftOf(structured({ ...attributes, sidecastusers: '42', data: '{"a":1}' })).data).toBe('"{\\"a\\":1}"')
  })

  test('can say who does not get it, that all do, and that it is not kept', () => {
    const extensions = { sidecastall: true, sidecastexceptusers: '7', sidecastvolatile: true }
    expect(draftOf(structured({ ...attributes, ...extensions }))).toMatchObject({
      to: { ...nobody, all: true },
      except: { users: ['7'], sessions: [] },
      volatile: true,
    })
  })
})

describe('sidecast headers', () => {
  test('name the event and the target; the body is the data', () => {
    const headers = {
      'sidecast-event': 'order.shipped',
      'sidecast-users': '42, 43',
      'sidecast-rooms': ['news', 7],
      'sidecast-sessions': 'abc',
      'sidecast-except-users': 43,
      'sidecast-except-sessions': 'def',
      'sidecast-volatile': false,
    }
    expect(draftOf({ headers, body: '[1]', key: 'room.other.event', properties: { messageId: 'm-1' } })).toEqual({
      event: 'order.shipped',
      id: 'm-1',
      data: '[1]',
      to: { users: ['42', '43'], rooms: ['news', '7'], sessions: ['abc'], all: false },
      except: { users: ['43'], sessions: ['def'] },
      volatile: false,
    })
  })

  test.each([
    ['text', '42', ['42']],
    ['an integer', 42, ['42']],
    ['bytes, as Java sends byte[]', Buffer.from('42'), ['42']],
    ['an array of all of these', ['a', 42, Buffer.from('ü'), 'with,comma'], ['a', '42', 'ü', 'with,comma']],
  ])('may be %s', (_, users, expected) => {
    expect(draftOf({ headers: { 'sidecast-event': 'e', 'sidecast-users': users } }).to.users).toEqual(expected)
  })

  test('come before an envelope, which is then data', () => {
    const body = '{"event":"other","to":{"all":true}}'
    expect(draftOf({ headers: { 'sidecast-event': 'e', 'sidecast-users': '42' }, body })).toMatchObject({ event: 'e', data: body, to: to42 })
  })

  test('may leave the event or the target to the routing key', () => {
    expect(draftOf({ headers: { 'sidecast-users': '42' }, key: 'room.x.order.shipped' })).toMatchObject({ event: 'order.shipped', to: to42 })
    expect(draftOf({ headers: { 'sidecast-event': 'e' }, key: 'user.42.other' })).toMatchObject({ event: 'e', to: to42 })
    expect(draftOf({ headers: { 'sidecast-except-users': '7' }, key: 'all.e' })).toMatchObject({ event: 'e', except: { users: ['7'] } })
    expect(draftOf({ headers: { 'sidecast-event': 'e', 'sidecast-all': 'false' }, key: 'user.42' })).toMatchObject({ to: to42 })
    expect(draftOf({ headers: { 'sidecast-event': 'e', 'sidecast-all': 'true' }, key: 'user.42' })).toMatchObject({ to: { ...nobody, all: true } })
  })

  test('are found in any case of letters, and those of the dead-letter queue do not count', () => {
    expect(draftOf({ headers: { 'Sidecast-Event': 'e', 'SIDECAST-USERS': '42' } })).toMatchObject({ event: 'e', to: to42 })
    expect(draftOf({ headers: { 'sidecast-error': 'no_target: …' }, body: '{"event":"e","to":{"users":[42]}}' })).toMatchObject({ to: to42 })
  })
})

describe('an envelope', () => {
  test('is what POST /v1/events takes, with the message_id as its id unless it has one', () => {
    const body = '{"event":"e","to":{"users":[42]},"except":{"users":[7]},"volatile":true,"data":{"a":1}}'
    expect(draftOf({ body, key: 'anything', properties: { messageId: 'm-1' } })).toEqual({
      event: 'e',
      id: 'm-1',
      data: '{"a":1}',
      to: to42,
      except: { users: ['7'], sessions: [] },
      volatile: true,
    })
    expect(draftOf({ body: '{"id":"own","event":"e","to":{"all":true}}', properties: { messageId: 'm-1' } }).id).toBe('own')
    expect(draftOf({ body, properties: { messageId: '' } })).not.toHaveProperty('id')
  })

  test('comes before the routing key', () => {
    expect(draftOf({ body: '{"event":"e","to":{"users":[42]}}', key: 'room.x.other' })).toMatchObject({ event: 'e', to: to42 })
  })

  test('may be JSON in a JSON string, but not where the routing key names somebody: text that a user typed must not choose its receivers', () => {
    const body = JSON.stringify('{"event":"e","to":{"all":true}}')
    expect(draftOf({ body })).toMatchObject({ event: 'e', to: { ...nobody, all: true } })
    expect(draftOf({ body, key: 'user.42.chat' })).toMatchObject({ event: 'chat', to: to42, data: '{"event":"e","to":{"all":true}}' })
  })
})

describe('a routing key', () => {
  test.each([
    ['user.42.order.shipped', { event: 'order.shipped', to: to42 }],
    ['user.a%2Eb%40example%2Ecom.mail', { event: 'mail', to: { ...nobody, users: ['a.b@example.com'] } }],
    ['user.100%25.e', { event: 'e', to: { ...nobody, users: ['100%'] } }],
    ['user.%E2%82%AC.e', { event: 'e', to: { ...nobody, users: ['€'] } }],
    ['user.Jürgen Groß.e', { event: 'e', to: { ...nobody, users: ['Jürgen Groß'] } }],
    ['user.42.App%5CEvents%5COrderShipped', { event: 'App\\Events\\OrderShipped', to: to42 }],
    ['room.order:7.changed', { event: 'changed', to: { ...nobody, rooms: ['order:7'] } }],
    ['all.maintenance.soon', { event: 'maintenance.soon', to: { ...nobody, all: true } }],
  ])('%s names the target and the event', (key, expected) => {
    expect(draftOf({ key, body: '{"a":1}' })).toMatchObject({ ...expected, data: '{"a":1}' })
  })

  test('without an event leaves it to the type property, then to the type header, then to __TypeId__', () => {
    const headers = { type: 'App\\Message\\OrderShipped', __TypeId__: 'com.example.shop.Orders$OrderShipped' }
    expect(draftOf({ key: 'user.42', properties: { type: 'order.shipped' }, headers }).event).toBe('order.shipped')
    expect(draftOf({ key: 'user.42', headers }).event).toBe('App\\Message\\OrderShipped')
    expect(draftOf({ key: 'user.42.', headers: { __TypeId__: headers.__TypeId__ } }).event).toBe('OrderShipped')
    expect(draftOf({ key: 'user.42.mine', properties: { type: 'other' }, headers }).event).toBe('mine')
    expect(draftOf({ key: 'all', properties: { type: 'e' } })).toMatchObject({ event: 'e', to: { all: true } })
  })
})

describe('a command', () => {
  const command = (name: string, headers: object) => parseSent({ headers: { 'sidecast-command': name, ...headers }, body: 'whatever' })

  test('puts a user into a room and takes it out', () => {
    const who = { 'sidecast-users': 42, 'sidecast-rooms': 'order:7' }
    expect(command('join', who)).toEqual({ kind: 'membership', user: '42', room: 'order:7', present: true })
    expect(command('leave', who)).toEqual({ kind: 'membership', user: '42', room: 'order:7', present: false })
  })

  test('disconnects a user or one session', () => {
    expect(command('disconnect', { 'sidecast-users': '42' })).toEqual({ kind: 'disconnect', member: { user: '42' } })
    expect(command('disconnect', { 'sidecast-sessions': 'abc_-1' })).toEqual({ kind: 'disconnect', member: { session: 'abc_-1' } })
  })

  test('comes before every other form', () => {
    const headers = { 'sidecast-command': 'disconnect', 'sidecast-users': '42', 'ce-specversion': '1.0', 'ce-type': 'e' }
    expect(parseSent({ headers, key: 'all.e', body: '{"event":"e","to":{"all":true}}' })).toMatchObject({ kind: 'disconnect' })
  })
})

describe('a body', () => {
  const data = (body: string | Buffer, properties = {}) => draftOf({ key: 'user.42.e', body, properties }).data

  test.each([undefined, '', 'text/plain', 'application/octet-stream', 'application/json; charset=utf-8', 'application/vnd.shop+json'])(
    'is JSON although its content type is %s',
    (contentType) => {
      expect(data('{"a":[1,null,"ü"]}', { contentType })).toBe('{"a":[1,null,"ü"]}')
    },
  )

  test.each(['9007199254740993', '-9223372036854775808', '18446744073709551615', '0.1234567890123456789', '1e400'])(
    'keeps the digits of %s',
    (number) => {
      expect(data(`{"id":${number},"in":[${number}]}`)).toBe(`{"id":${number},"in":[${number}]}`)
      expect(data(JSON.stringify(`{"id":${number}}`))).toBe(`{"id":${number}}`)
    },
  )

  test('that is a JSON string holding an object or an array is unwrapped, once', () => {
    expect(data(JSON.stringify(' {"a":1}'))).toBe('{"a":1}')
    expect(data(JSON.stringify('[1]'))).toBe('[1]')
    const twice = JSON.stringify('{"a":1}')
    expect(data(JSON.stringify(`[${twice}]`))).toBe(`[${twice}]`)
  })

  test.each(['hello', '42', '9007199254740993', 'true', 'null', '{not json', '"quoted"', ''])('that is the JSON string %j stays a string', (text) => {
    expect(data(JSON.stringify(text))).toBe(JSON.stringify(text))
  })

  test('may be empty: an event without data', () => {
    expect(data('')).toBe('null')
  })

  test.each(['UTF-8', 'utf8', 'identity', 'us-ascii'])('may say that its encoding is %s, as Spring and Python do', (contentEncoding) => {
    expect(data('1', { contentEncoding })).toBe('1')
  })
})
