import { expect, test } from 'vitest'
import { draftOf } from './delivery.ts'

// Properties and bodies as these publishers send them; publishers.test.ts runs those that a package manager can bring.

const spring = { contentType: 'application/json', contentEncoding: 'UTF-8', deliveryMode: 2, priority: 0 }

test('Spring, JSON converter, an object: the class is the event when the routing key names none', () => {
  const headers = { __TypeId__: 'com.example.shop.OrderShipped' }
  const body = '{"orderId":9007199254740993,"status":"SHIPPED","items":[{"sku":"A"}]}'
  expect(draftOf({ key: 'user.42', body, headers, properties: spring })).toMatchObject({ event: 'OrderShipped', data: body, to: { users: ['42'] } })
  expect(draftOf({ key: 'user.42.order.shipped', body, headers, properties: spring }).event).toBe('order.shipped')
})

test('Spring, JSON converter, a list or a map: the element types do not disturb', () => {
  const headers = { __TypeId__: 'java.util.ArrayList', __ContentTypeId__: 'com.example.shop.Item', __KeyTypeId__: 'java.lang.String' }
  expect(draftOf({ key: 'user.42.items', body: '[{"sku":"A"}]', headers, properties: spring })).toMatchObject({
    event: 'items',
    data: '[{"sku":"A"}]',
  })
})

test('Spring, JSON converter, a String that is JSON: unwrapped', () => {
  const headers = { __TypeId__: 'java.lang.String' }
  const sent = { body: '"{\\"orderId\\":9007199254740993}"', headers, properties: spring }
  expect(draftOf({ ...sent, key: 'user.42.order' }).data).toBe('{"orderId":9007199254740993}')
})

test('Spring, JSON converter, a header list and Longs', () => {
  const headers = { __TypeId__: 'com.example.OrderShipped', 'sidecast-users': [42, '43', 9007199254740991], 'sidecast-event': 'order.shipped' }
  expect(draftOf({ body: '{}', headers, properties: spring }).to.users).toEqual(['42', '43', '9007199254740991'])
})

test('Spring, default converter, a String that is JSON: text/plain', () => {
  const properties = { ...spring, contentType: 'text/plain' }
  expect(draftOf({ key: 'user.42.order', body: '{"a":1}', headers: {}, properties }).data).toBe('{"a":1}')
})

test('Symfony Messenger, JSON serializer: the class in the type header is the event', () => {
  const headers = {
    type: 'App\\Message\\OrderShipped',
    'X-Message-Stamp-Symfony\\Component\\Messenger\\Stamp\\BusNameStamp': '[{"busName":"messenger.bus.default"}]',
  }
  const properties = { contentType: 'application/json', deliveryMode: 2, timestamp: 1767225600 }
  const sent = { exchange: 'messages', body: '{"orderId":7,"url":"https:\\/\\/shop.example\\/7"}', headers, properties }
  expect(draftOf({ ...sent, key: 'user.42' })).toMatchObject({
    event: 'App\\Message\\OrderShipped',
    data: '{"orderId":7,"url":"https://shop.example/7"}',
    to: { users: ['42'] },
  })
  // Without an AmqpStamp there is no routing key: an envelope from a normalizer, or headers, name the target.
  expect(draftOf({ ...sent, headers: { ...headers, 'sidecast-rooms': 'orders' } })).toMatchObject({ to: { rooms: ['orders'] } })
})

test('php-amqplib with nothing set', () => {
  expect(draftOf({ key: 'user.42.order.shipped', body: '{"order":7}' })).toEqual({
    event: 'order.shipped',
    data: '{"order":7}',
    to: { users: ['42'], rooms: [], sessions: [], all: false },
    except: { users: [], sessions: [] },
    volatile: false,
  })
})

test('amqp-publish', () => {
  const properties = { contentType: 'text/plain', deliveryMode: 1 }
  expect(draftOf({ key: 'room.news.posted', body: '{"title":"Hi"}', properties })).toMatchObject({ event: 'posted', data: '{"title":"Hi"}' })
})

test('Python, kombu and pika', () => {
  const properties = { contentType: 'application/json', contentEncoding: 'utf-8', deliveryMode: 2, priority: 0 }
  expect(draftOf({ key: 'all.maintenance', body: '{"at": "12:00"}', headers: {}, properties }).data).toBe('{"at":"12:00"}')
})

test('AMQP 1.0, converted by RabbitMQ: a data section arrives as it is, text as a section', () => {
  const json = '{"order":7}'
  expect(draftOf({ key: 'user.42.e', body: json, properties: { deliveryMode: 2 } }).data).toBe(json)
  const section = (kind: number, format: number[], text: string) => Buffer.concat([Buffer.from([0, 0x53, kind, ...format]), Buffer.from(text)])
  const long = `"${'x'.repeat(300)}"`
  for (const [body, data] of [
    [section(0x77, [0xa1, json.length], json), json],
    [section(0x75, [0xa0, json.length], json), json],
    [section(0x77, [0xb1, 0, 0, 1, 46], long), long],
    [section(0x75, [0xb0, 0, 0, 1, 46], long), long],
  ] as const) {
    expect(draftOf({ key: 'user.42.e', body, properties: { type: 'amqp-1.0' } }).data).toBe(data)
  }
})
