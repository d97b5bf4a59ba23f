import { expect, test } from 'vitest'
import { startIngress } from './start-ingress.ts'

const good = { event: 'a', to: { users: [1] } }
const name = 'must be 1 to 200 characters'

const cases: readonly (readonly [what: string, body: unknown, pointer: string, detail: string])[] = [
  ['an array', [], '', 'must be an object'],
  ['no name', { to: { all: true } }, '/event', 'is required'],
  ['no target', { event: 'a' }, '/to', 'is required'],
  ['a target that names nobody', { event: 'a', to: {} }, '/to', 'names nobody'],
  ['lists that name nobody', { event: 'a', to: { users: [], all: false } }, '/to', 'names nobody'],
  ['a reserved name', { ...good, event: 'connect_error' }, '/event', 'must be a letter'],
  ['a name of ours', { ...good, event: 'sidecast:ready' }, '/event', 'must be a letter'],
  ['a name with a space', { ...good, event: 'order updated' }, '/event', 'must be a letter'],
  ['a name of 129 letters', { ...good, event: 'a'.repeat(129) }, '/event', 'must be a letter'],
  ['an unknown field', { ...good, too: { users: [1] } }, '/too', 'is not a known field'],
  ['an unknown field with a slash', { ...good, 'a/b': 1 }, '/a~1b', 'is not a known field'],
  ['an unknown kind of target', { event: 'a', to: { user: 1 } }, '/to/user', 'is not a known field'],
  ['a user that is not in a list', { event: 'a', to: { users: 1 } }, '/to/users', 'must be an array'],
  ['a list with gaps, from PHP', { event: 'a', to: { users: { 0: 1, 2: 3 } } }, '/to/users', 'must be an array (in PHP: array_values())'],
  ['a target that is empty, from PHP', { event: 'a', to: [] }, '/to', 'must be an object: name users, rooms or sessions, or set all to true'],
  ['a user that is null', { event: 'a', to: { users: [null] } }, '/to/users/0', 'must be a string or an integer'],
  ['a user with a fraction', { event: 'a', to: { users: [1, 1.5] } }, '/to/users/1', 'must be a string or an integer'],
  ['a user without a name', { event: 'a', to: { users: [''] } }, '/to/users/0', name],
  ['a room with a letter that is not seen', { event: 'a', to: { rooms: ['a\u3164b'] } }, '/to/rooms/0', name],
  ['a room with an invisible character', { event: 'a', to: { rooms: ['a\u200bb'] } }, '/to/rooms/0', name],
  ['a room of 201 characters', { event: 'a', to: { rooms: ['x'.repeat(201)] } }, '/to/rooms/0', name],
  ['1,001 users', { event: 'a', to: { users: Array.from({ length: 1001 }, (_, id) => id) } }, '/to/users', 'more than 1000'],
  [
    '1,001 targets',
    { event: 'a', to: { users: Array.from({ length: 501 }, (_, id) => id), rooms: Array.from({ length: 500 }, (_, id) => id) } },
    '/to',
    '1001',
  ],
  ['an id with a space', { ...good, id: 'a b' }, '/id', 'must be 1 to 200 visible characters'],
  ['an id that is empty', { ...good, id: '' }, '/id', 'must be 1 to 200 visible characters'],
  ['an id that is a number', { ...good, id: 7 }, '/id', 'must be a string'],
  ['volatile that is a word', { ...good, volatile: 'yes' }, '/volatile', 'must be true or false'],
  ['an exception with a room', { ...good, except: { rooms: ['a'] } }, '/except/rooms', 'is not a known field'],
]

test('what is wrong with an event is told by field, in plain words', async () => {
  await using ingress = await startIngress()
  for (const [what, body, pointer, detail] of cases) {
    const { status, headers, json } = await ingress.call('POST', '/v1/events', { body })
    expect({ what, status, errors: json.errors }).toMatchObject({ what, status: 422, errors: [{ pointer, detail: expect.stringContaining(detail) }] })
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(json).toMatchObject({ type: 'urn:sidecast:error:invalid_event', title: 'The event is not valid.', code: 'invalid_event' })
  }
  expect(ingress.log.head()).toBe(0)
})

test('an integer beyond 2^53 is refused, not rounded', async () => {
  await using ingress = await startIngress()
  for (const digits of ['9007199254740993', '9007199254740992', '-9007199254740993', '123456789012345678901234567890', '1e400']) {
    const { json } = await ingress.call('POST', '/v1/events', { body: `{"event":"a","to":{"users":[7,${digits}]}}` })
    expect(json, digits).toMatchObject({ status: 422, errors: [{ pointer: '/to/users/1', detail: expect.stringContaining('2^53') }] })
  }
  expect((await ingress.call('POST', '/v1/events', { body: '{"event":"a","to":{"users":[9007199254740991]}}' })).status).toBe(202)
  expect((await ingress.call('POST', '/v1/events', { body: '{"event":"a","to":{"users":["9007199254740993"]}}' })).status).toBe(202)
})

test('several mistakes are told at once, and very many are not', async () => {
  await using ingress = await startIngress()
  const { json } = await ingress.call('POST', '/v1/events', { body: { event: '', to: { users: [null] }, id: 7 } })
  expect(json.errors).toHaveLength(3)
  const many = await ingress.call('POST', '/v1/events', { body: { event: 'a', to: { users: Array.from({ length: 900 }, () => ({})) } } })
  expect(many.json.errors).toHaveLength(20)
})

test('class names of PHP, the longest name and the longest id are good', async () => {
  await using ingress = await startIngress()
  for (const body of [
    { ...good, event: 'App\\Events\\OrderShipped' },
    { ...good, event: `a${'Z9_.:-'.repeat(21)}.` },
    { ...good, id: 'é'.repeat(200) },
    { event: 'a', to: { rooms: ['😀'.repeat(200), 'with space'] } },
  ])
    expect((await ingress.call('POST', '/v1/events', { body })).status).toBe(202)
})

test('parameters that are not valid are told by their place', async () => {
  await using ingress = await startIngress()
  const expectErrors = async (method: string, path: string, pointer: string, detail: string, headers: Readonly<Record<string, string>> = {}) => {
    const { json } = await ingress.call(method, path, { ...(method === 'POST' ? { body: good } : {}), headers })
    expect({ path, ...json }).toMatchObject({ status: 400, code: 'invalid_request', errors: [{ pointer, detail: expect.stringContaining(detail) }] })
  }
  await expectErrors('GET', '/v1/users/7/events?limit=0', '/query/limit', 'from 1 to 1000')
  await expectErrors('GET', '/v1/users/7/events?limit=1001', '/query/limit', 'from 1 to 1000')
  await expectErrors('GET', '/v1/users/7/events?limit=many', '/query/limit', 'from 1 to 1000')
  await expectErrors('GET', '/v1/users/7/events?limit=1&limit=2', '/query/limit', 'from 1 to 1000')
  await expectErrors('GET', '/v1/users/7/events?after=%00', '/query/after', 'must be an offset')
  await expectErrors('GET', '/v1/users/7/events?since=1', '/query/since', 'is not a parameter')
  await expectErrors('GET', `/v1/users/${'x'.repeat(201)}`, '/path/user', name)
  await expectErrors('GET', '/v1/rooms/a%E2%80%8Bb', '/path/room', name)
  await expectErrors('DELETE', '/v1/sessions/a%20b', '/path/session', 'must be the id of a session')
  await expectErrors('POST', '/v1/events?dry_run=maybe', '/query/dry_run', 'must be true or false')
  await expectErrors('POST', '/v1/events', '/headers/idempotency-key', 'visible', { 'idempotency-key': 'a b' })
})

test('a body without anything in it is told from one that is not JSON', async () => {
  await using ingress = await startIngress()
  for (const path of ['/v1/events', '/v1/events/batch']) {
    const { json } = await ingress.call('POST', path, { headers: { 'content-type': 'application/json' } })
    expect(json).toMatchObject({ status: 400, code: 'invalid_json', detail: 'The body is empty.' })
  }
})

test('another content type is answered with those that are taken', async () => {
  await using ingress = await startIngress()
  const cure = 'send application/json (a batch: also application/x-ndjson)'
  const detailOf = async (path: string, type: string) =>
    (await ingress.call('POST', path, { body: 'a=1', headers: { 'content-type': type } })).json.detail
  // What curl, and PHP with it, sends when nothing is said.
  expect(await detailOf('/v1/events', 'application/x-www-form-urlencoded')).toBe(`Got application/x-www-form-urlencoded; ${cure}`)
  expect(await detailOf('/v1/events', 'application/x-ndjson')).toBe(`Got application/x-ndjson; ${cure}`)
  expect(await detailOf('/v1/events/batch', 'text/plain; charset=utf-8')).toBe(`Got text/plain; ${cure}`)
  expect(await detailOf('/v1/events', '<script>')).toBe(`Got what is no media type; ${cure}`)
})

test('an id that is used for another event is answered with what to do', async () => {
  await using ingress = await startIngress()
  await ingress.call('POST', '/v1/events', { body: { ...good, id: 'k' } })
  const { json } = await ingress.call('POST', '/v1/events', { body: { ...good, id: 'k', data: 1 } })
  expect(json).toMatchObject({
    code: 'id_reused',
    detail: 'the id k was used before, within the dedupe window, for an event with other content: use a new id, or repeat exactly the same event',
  })
})
