import { afterAll, expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { sharedRedis, startRedis } from '../support/redis.ts'

const redis = await sharedRedis()
afterAll(() => redis.close())

/** A Redis that other tests use too, under keys of this test. */
const apart = (): Readonly<Record<string, string>> => ({ REDIS_URL: redis.url, REDIS_PREFIX: `test-${crypto.randomUUID()}` })

/** Publishes until it is accepted: while Redis is away the bridge says 503. */
async function publishAtLast(bridge: TestBridge, event: Readonly<Record<string, unknown>>): Promise<void> {
  while ((await bridge.call('POST', '/v1/events', event)).status !== 202);
}

test('an event that one node accepts reaches the sessions of all, and what the backend says about rooms holds at all', async () => {
  const settings = apart()
  await using one = await startTestBridge(settings)
  await using other = await startTestBridge(settings)
  await using here = connectSession(one.publicUrl, { token: login('7', { rooms: ['team'] }) })
  await using there = connectSession(other.publicUrl, { token: login('7', { rooms: ['team'] }) })
  for (const session of [here, there]) await session.notice('sidecast:ready')
  for (let count = 0; count < 20; count++) await (count % 2 ? one : other).publish({ event: `e${count}`, to: { rooms: ['team'] } })
  const removed = await one.call('DELETE', '/v1/rooms/team/users/7')
  expect(removed.status).toBeLessThan(300)
  await other.publish({ event: 'secret', to: { rooms: ['team'] } })
  await other.publish({ event: 'end', to: { all: true } })
  for (const session of [here, there]) {
    await session.until(() => session.received.at(-1)?.event === 'end')
    expect(session.received.map(({ event }) => event)).toEqual([...Array.from({ length: 20 }, (_, count) => `e${count}`), 'end'])
  }
})

test('a client goes on at another node where it was', async () => {
  const settings = apart()
  const one = await startTestBridge(settings)
  await using other = await startTestBridge(settings)
  await using session = connectSession(one.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  await one.publish({ event: 'first', to: { users: ['7'] } })
  await session.event(1)
  session.socket.io.reconnection(false)
  await one[Symbol.asyncDispose]()
  await session.closed()
  await other.publish({ event: 'second', to: { users: ['7'] } })
  // What a proxy in front of the nodes does.
  Object.assign(session.socket.io, { uri: other.publicUrl })
  session.socket.connect()
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true } })
  expect(session.received.map(({ event }) => event)).toEqual(['first', 'second'])
})

test('clients are told when Redis has lost what was accepted; a revocation outlives that', async () => {
  await using own = await startRedis({ config: { appendonly: 'no' } })
  await using bridge = await startTestBridge({ REDIS_URL: own.url })
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  await bridge.publish({ event: 'first', to: { users: ['7'] } })
  await session.event(1)
  const stolen = login('9')
  expect(await bridge.call('POST', '/v1/revocations', { user: '9' })).toMatchObject({ status: 202 })
  await own.kill()
  expect(await bridge.call('POST', '/v1/events', { event: 'refused', to: { all: true } })).toMatchObject({
    status: 503,
    body: { code: 'log_unavailable' },
  })
  await own.start()
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: false, reason: 'gap' } })
  await publishAtLast(bridge, { event: 'second', to: { users: ['7'] } })
  await session.until(() => session.received.some(({ event }) => event === 'second'))
  // Also for a node that knows of nothing but what is in Redis now.
  await using another = await startTestBridge({ REDIS_URL: own.url })
  for (const { publicUrl } of [bridge, another]) {
    await using refused = connectSession(publicUrl, { token: stolen })
    expect(await refused.refused()).toMatchObject({ code: 'token_revoked' })
  }
  expect(await another.call('GET', '/v1/revocations')).toMatchObject({ body: { revocations: [{ user: '9' }] } })
})
