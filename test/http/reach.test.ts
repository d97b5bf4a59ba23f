import { createHash, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { scopes } from '../../src/core/access.ts'
import { parseRoomPattern, type RoomPattern } from '../../src/core/room-pattern.ts'
import { fullKey, startIngress } from './start-ingress.ts'

const limitedKey = randomBytes(32).toString('base64url')
const patterns = (...texts: readonly string[]): readonly RoomPattern[] => texts.map((text) => parseRoomPattern(text) ?? [])
const sha256 = (key: string): Buffer => createHash('sha256').update(key).digest()

/** An ingress with one key that is limited and has all scopes. */
async function startLimited(limits: { readonly rooms?: readonly RoomPattern[]; readonly events?: readonly RoomPattern[] }) {
  const ingress = await startIngress({
    apiKeys: () => [
      { name: 'limited', scopes, sha256: sha256(limitedKey), ...limits },
      { name: 'full', scopes, sha256: sha256(fullKey) },
    ],
  })
  const call: typeof ingress.call = (method, path, init = {}) =>
    ingress.call(method, path, { ...init, headers: { authorization: `Bearer ${limitedKey}`, ...init.headers } })
  return { ...ingress, limited: call, [Symbol.asyncDispose]: () => ingress[Symbol.asyncDispose]() }
}

test('a key that is limited to rooms publishes to these and to nobody else', async () => {
  await using ingress = await startLimited({ rooms: patterns('order:*', 'news') })
  const publish = async (to: object) => (await ingress.limited('POST', '/v1/events', { body: { event: 'a', to } })).status
  for (const to of [{ rooms: ['order:7'] }, { rooms: ['news', 'order:7'] }]) expect([to, await publish(to)]).toEqual([to, 202])
  const beyond = [
    { rooms: ['order'] },
    { rooms: ['order:'] },
    { rooms: ['order:7:notes'] },
    { rooms: ['news', 'lobby'] },
    { rooms: ['*'] },
    { rooms: ['news'], users: ['42'] },
    { users: ['42'] },
    { rooms: ['user:42'] },
    { sessions: ['0199c6b3'] },
    { all: true },
    { all: true, rooms: ['news'] },
  ]
  for (const to of beyond) expect([to, await publish(to)]).toEqual([to, 403])
  const { json, headers } = await ingress.limited('POST', '/v1/events', { body: { event: 'a', to: { all: true } } })
  expect(json).toMatchObject({ code: 'publish_forbidden', detail: 'limited may not publish a to all that it is for' })
  expect(headers.get('www-authenticate')).toContain('insufficient_scope')
  const dry = await ingress.limited('POST', '/v1/events?dry_run=true', { body: { event: 'a', to: { users: ['42'] } } })
  expect(dry.json.code).toBe('publish_forbidden')
})

test('in a batch and in a stream only the events beyond its reach are refused, and they are not stored', async () => {
  await using ingress = await startLimited({ rooms: patterns('news'), events: patterns('order.**') })
  const events = [
    { event: 'order.updated', to: { rooms: ['news'] } },
    { event: 'orders', to: { rooms: ['news'] } },
    { event: 'order.updated', to: { users: ['42'] } },
    { event: 'order.line.added', to: { rooms: ['news'] } },
  ]
  const statuses = [202, 403, 403, 202]
  const batch = await ingress.limited('POST', '/v1/events/batch', { body: { events } })
  expect((batch.json.results as readonly { status: number }[]).map(({ status }) => status)).toEqual(statuses)
  const stream = await ingress.limited('POST', '/v1/events/batch', {
    body: events.map((event) => `${JSON.stringify(event)}\n`).join(''),
    headers: { 'content-type': 'application/x-ndjson' },
  })
  const lines = stream.text.trim().split('\n')
  expect(lines.map((line) => JSON.parse(line).status)).toEqual(statuses)
  expect(JSON.parse(lines[1] ?? '')).toMatchObject({ code: 'publish_forbidden' })
  const kept = async (path: string) => ((await ingress.call('GET', path)).json.events as readonly unknown[]).length
  expect([await kept('/v1/rooms/news/events'), await kept('/v1/users/42/events')]).toEqual([4, 0])
})

test('a key that is limited to rooms reads and manages these, and learns nothing of other rooms, users, sessions and tokens', async () => {
  await using ingress = await startLimited({ rooms: patterns('order:*') })
  const session = ingress.attach('42', ['order:7', 'secret'])
  const calls: readonly (readonly [number, string, string, object?])[] = [
    [200, 'GET', '/v1/rooms/order:7'],
    [200, 'GET', '/v1/rooms/order:7/events'],
    [202, 'PUT', '/v1/rooms/order:7/users/42'],
    [202, 'DELETE', '/v1/rooms/order:7/users/42'],
    [403, 'GET', '/v1/rooms/secret'],
    [403, 'GET', '/v1/rooms/secret/events'],
    [403, 'PUT', '/v1/rooms/secret/users/42'],
    [403, 'DELETE', '/v1/rooms/secret/users/42'],
    [403, 'GET', '/v1/users/42'],
    [403, 'GET', '/v1/users/42/events'],
    [403, 'POST', '/v1/users/42/disconnect'],
    [403, 'DELETE', `/v1/sessions/${session}`],
    [403, 'POST', '/v1/revocations', { user: '42' }],
    [403, 'GET', '/v1/revocations'],
    [403, 'DELETE', '/v1/revocations/3q2-7wAB_xyz0123'],
  ]
  for (const [status, method, path, body] of calls) {
    const answer = await ingress.limited(method, path, body === undefined ? {} : { body })
    expect([method, path, answer.status, answer.json.code]).toEqual([method, path, status, status === 403 ? 'publish_forbidden' : undefined])
  }
  expect((await ingress.call('GET', '/v1/users/42')).json).toMatchObject({ online: true })
})

test('a key that is limited to events publishes these to anybody, and manages no rooms', async () => {
  await using ingress = await startLimited({ events: patterns('order.*', 'ping') })
  const publish = async (event: string) => (await ingress.limited('POST', '/v1/events', { body: { event, to: { all: true } } })).status
  expect([await publish('order.updated'), await publish('ping')]).toEqual([202, 202])
  expect([await publish('order'), await publish('order.line.added'), await publish('pong'), await publish('pinging')]).toEqual([403, 403, 403, 403])
  expect((await ingress.limited('PUT', '/v1/rooms/news/users/42')).json.code).toBe('publish_forbidden')
  expect((await ingress.limited('GET', '/v1/users/42')).status).toBe(200)
})

test('a scope that is missing comes before a reach that is too short', async () => {
  await using ingress = await startIngress({
    apiKeys: () => [{ name: 'reader', scopes: ['read'], sha256: sha256(limitedKey), rooms: patterns('news') }],
  })
  const headers = { authorization: `Bearer ${limitedKey}` }
  expect((await ingress.call('POST', '/v1/events', { body: { event: 'a', to: { all: true } }, headers })).json.code).toBe('scope_missing')
})

test('two keys with one name are both in force, so that one can take the place of the other', async () => {
  const keys = [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')] as const
  await using ingress = await startIngress({ apiKeys: () => keys.map((key) => ({ name: 'shop', scopes: ['read'], sha256: sha256(key) })) })
  for (const key of keys) expect((await ingress.call('GET', '/v1/users/7', { headers: { authorization: `Bearer ${key}` } })).status).toBe(200)
  expect((await ingress.call('GET', '/metrics')).text).toContain('sidecast_http_credentials_total{credential="shop"} 2')
})
