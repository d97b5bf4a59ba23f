import { expect, test } from 'vitest'
import { startIngress } from './start-ingress.ts'

const to = { users: [1] }

test('the results of a batch are in the order of its events, and a bad event does not stop the others', async () => {
  await using ingress = await startIngress()
  ingress.attach('1')
  const events = [
    { event: 'a', to },
    { event: '1', to },
    'x',
    { event: 'b', to, id: 'k' },
    { event: 'b', to, id: 'k' },
    { event: 'c', to, id: 'k' },
    null,
  ]
  const { status, json } = await ingress.call('POST', '/v1/events/batch', { body: { events } })
  expect(status).toBe(202)
  expect(json.results).toMatchObject([
    { status: 202, duplicate: false, matched: 1 },
    { status: 422, code: 'invalid_event', errors: [{ pointer: '/event' }] },
    { status: 422, code: 'invalid_event', errors: [{ pointer: '' }] },
    { status: 202, id: 'k', duplicate: false },
    { status: 202, id: 'k', duplicate: true },
    { status: 422, code: 'id_reused' },
    { status: 422, code: 'invalid_event' },
  ])
  expect(ingress.log.head()).toBe(2)
})

test('a batch is stored in order, 1,000 events at most', async () => {
  await using ingress = await startIngress()
  const events = Array.from({ length: 1000 }, (_, data) => ({ event: 'n', data, to }))
  expect((await ingress.call('POST', '/v1/events/batch', { body: { events } })).status).toBe(202)
  const { json } = await ingress.call('GET', '/v1/users/1/events?limit=1000')
  expect((json.events as { data: number }[]).map(({ data }) => data)).toEqual(events.map(({ data }) => data))
  const tooMany = await ingress.call('POST', '/v1/events/batch', { body: { events: [...events, events[0]] } })
  expect(tooMany.json).toMatchObject({ status: 422, code: 'invalid_event', errors: [{ pointer: '/events' }] })
})

test('a batch that is no batch is refused as a whole', async () => {
  await using ingress = await startIngress()
  for (const [body, pointer] of [
    [[], ''],
    [{}, '/events'],
    [{ events: {} }, '/events'],
    [{ events: [] }, '/events'],
    [{ events: [{ event: 'a', to }], more: 1 }, '/more'],
  ] as const) {
    const { json } = await ingress.call('POST', '/v1/events/batch', { body })
    expect(json, JSON.stringify(body)).toMatchObject({ status: 422, code: 'invalid_event', errors: [{ pointer }] })
  }
  expect(ingress.log.head()).toBe(0)
})

test('an Idempotency-Key on a batch is refused: it could only mean one event', async () => {
  await using ingress = await startIngress()
  const { json } = await ingress.call('POST', '/v1/events/batch', { body: { events: [{ event: 'a', to }] }, headers: { 'idempotency-key': 'k' } })
  expect(json).toMatchObject({ status: 400, errors: [{ pointer: '/headers/idempotency-key' }] })
})

test('a batch that cannot be stored is refused as a whole, to be sent again', async () => {
  await using ingress = await startIngress()
  await ingress.log.close()
  const { json } = await ingress.call('POST', '/v1/events/batch', { body: { events: [{ event: 'a', to }, 1] } })
  expect(json).toMatchObject({ status: 503, code: 'log_unavailable' })
})
