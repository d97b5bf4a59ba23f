import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { startIngress } from './start-ingress.ts'

test('an event is stored, and its offset is where a reader finds it', async () => {
  await using ingress = await startIngress()
  const { status, json } = await ingress.call('POST', '/v1/events', { body: { event: 'order.updated', data: { id: 7 }, to: { users: [42] } } })
  expect({ status, json }).toMatchObject({ status: 202, json: { duplicate: false, matched: 0 } })
  const history = await ingress.call('GET', '/v1/users/42/events')
  expect(history.json).toMatchObject({
    events: [{ id: json.id, offset: json.offset, event: 'order.updated', data: { id: 7 }, to: { users: ['42'] } }],
    next: json.offset,
  })
})

test('the publisher learns how many sessions were entitled', async () => {
  await using ingress = await startIngress()
  ingress.attach('42')
  ingress.attach('42', ['lobby'])
  ingress.attach('7', ['lobby'])
  const matched = async (to: object, except?: object) =>
    (await ingress.call('POST', '/v1/events', { body: { event: 'a', to, ...(except === undefined ? {} : { except }) } })).json.matched
  expect(await matched({ users: [42] })).toBe(2)
  expect(await matched({ users: ['42'], rooms: ['lobby'] })).toBe(3)
  expect(await matched({ all: true }, { users: [42] })).toBe(1)
  expect(await matched({ users: [99] })).toBe(0)
})

test('a dry run says whom the event would reach and stores nothing', async () => {
  await using ingress = await startIngress()
  ingress.attach('42')
  ingress.attach('42')
  ingress.attach('7')
  const { status, json } = await ingress.call('POST', '/v1/events?dry_run=true', { body: { event: 'a', to: { users: [42, 7] } } })
  expect({ status, json }).toEqual({ status: 200, json: { matched: 3, users: 2, sessions: 3 } })
  expect(ingress.log.head()).toBe(0)
  expect((await ingress.call('POST', '/v1/events?dry_run=false', { body: { event: 'a', to: { all: true } } })).status).toBe(202)
  expect((await ingress.call('POST', '/v1/events?dry_run=true', { body: { event: 'a', to: {} } })).status).toBe(422)
})

test('the same event with the same id is stored once', async () => {
  await using ingress = await startIngress()
  const publish = (body: object, headers: Readonly<Record<string, string>> = {}) => ingress.call('POST', '/v1/events', { body, headers })
  const event = { event: 'a', data: 1, to: { users: [42] } }
  const first = await publish({ ...event, id: 'order-7' })
  expect(first.json).toMatchObject({ id: 'order-7', duplicate: false })
  const again = await publish({ ...event, id: 'order-7' })
  expect(again).toMatchObject({ status: 202, json: { ...first.json, duplicate: true } })
  const byHeader = await publish(event, { 'idempotency-key': 'order-7' })
  expect(byHeader.json).toEqual(again.json)
  expect((await publish({ ...event, id: 'order-7' }, { 'idempotency-key': 'order-7' })).json).toEqual(again.json)
  expect(ingress.log.head()).toBe(1)
})

test('the same id with another event is refused', async () => {
  await using ingress = await startIngress()
  const publish = (data: number) =>
    ingress.call('POST', '/v1/events', { body: { event: 'a', data, to: { all: true } }, headers: { 'idempotency-key': 'k' } })
  expect((await publish(1)).status).toBe(202)
  expect((await publish(2)).json).toMatchObject({ status: 422, code: 'id_reused', type: 'urn:sidecast:error:id_reused' })
})

test('an id and an Idempotency-Key that differ are refused', async () => {
  await using ingress = await startIngress()
  const { json } = await ingress.call('POST', '/v1/events', { body: { event: 'a', to: { all: true }, id: 'x' }, headers: { 'idempotency-key': 'y' } })
  expect(json).toMatchObject({ status: 422, code: 'invalid_event', errors: [{ pointer: '/id' }] })
})

test('digits of large numbers survive from the publisher to the reader', async () => {
  await using ingress = await startIngress()
  await ingress.call('POST', '/v1/events', {
    body: '{"event":"a","data":{"long":9223372036854775807,"precise":0.1000000000000000055},"to":{"users":[1]}}',
  })
  const { text } = await ingress.call('GET', '/v1/users/1/events')
  expect(text).toContain('"data":{"long":9223372036854775807,"precise":0.1000000000000000055}')
})

test('a key that stands twice in an object counts as its last value', async () => {
  await using ingress = await startIngress()
  await ingress.call('POST', '/v1/events', { body: '{"event":"a","data":1,"data":2,"to":{"users":[1]}}' })
  expect((await ingress.call('GET', '/v1/users/1/events')).json).toMatchObject({ events: [{ data: 2 }] })
})

test('an event that cannot be stored is not accepted', async () => {
  await using ingress = await startIngress()
  await ingress.log.close()
  const { status, headers, json } = await ingress.call('POST', '/v1/events', { body: { event: 'a', to: { all: true } } })
  expect({ status, code: json.code }).toEqual({ status: 503, code: 'log_unavailable' })
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await ingress.call('GET', '/readyz')).json).toMatchObject({ status: 'failing', failing: [{ name: 'log' }] })
})

test('a number that JavaScript cannot hold keeps its digits, wherever in the body it stands', async () => {
  await using ingress = await startIngress()
  for (const number of ['9007199254740993', '1e400', '1E+400']) {
    for (let pad = 0; pad < 32; pad++) {
      const data = `["${'x'.repeat(pad)}",${number}]`
      await ingress.call('POST', '/v1/events', { body: `{"event":"a","data":${data},"to":{"users":["${number} ${pad}"]}}` })
      const history = await ingress.call('GET', `/v1/users/${encodeURIComponent(`${number} ${pad}`)}/events`)
      expect(history.text).toContain(data)
    }
  }
})

test('who repeats an event hears how many sessions it matched, each event of a batch its own number', async () => {
  await using ingress = await startIngress()
  for (let user = 1; user <= 3; user++) for (let session = 0; session < user; session++) ingress.attach(String(user))
  const events = [3, 1, 4, 2].map((user) => ({ id: `for-${user}`, event: 'a', to: { users: [user] } }))
  const matched = async () => (await ingress.call('POST', '/v1/events/batch', { body: { events } })).json.results
  const counts = [{ matched: 3 }, { matched: 1 }, { matched: 0 }, { matched: 2 }]
  expect(await matched()).toMatchObject(counts)
  for (let user = 1; user <= 4; user++) ingress.attach(String(user))
  expect(await matched()).toMatchObject(counts.map((count) => ({ ...count, duplicate: true })))
})

test('who repeats an event after a restart hears that nobody knows any more how many sessions it matched', async () => {
  const event = { id: 'once', event: 'a', to: { users: ['ada'] } }
  await using first = await startTestBridge()
  await using before = connectSession(first.publicUrl, { token: login('ada'), reconnection: false })
  await before.notice('sidecast:ready')
  const { offset } = await first.publish(event)
  await before.event()
  await first.stop()

  await using second = await startTestBridge({}, first.directory)
  await using after = connectSession(second.publicUrl, { token: login('ada') })
  await after.notice('sidecast:ready')
  expect(await second.publish(event)).toEqual({ id: 'once', offset, duplicate: true, matched: null })
  expect(await second.call('POST', '/v1/events/batch', { events: [event, { ...event, id: 'new' }] })).toMatchObject({
    body: { results: [{ matched: null }, { duplicate: false, matched: 1 }] },
  })
})
