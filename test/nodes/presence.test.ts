import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { startRedis } from '../support/redis.ts'
import { startWorkerBridge } from '../workers/worker-bridge.ts'

/** What one node knows another knows a moment later. */
async function eventually(bridge: TestBridge, path: string, holds: (body: Readonly<Record<string, unknown>>) => boolean): Promise<void> {
  while (!holds((await bridge.call('GET', path)).body));
}

test('each node counts the sessions of all, and forgets those of a node that is killed', async () => {
  await using redis = await startRedis()
  await using one = await startTestBridge({ REDIS_URL: redis.url, SESSIONS_PER_USER: '2' })
  await using other = await startWorkerBridge({ REDIS_URL: redis.url, WORKERS: '2', SESSIONS_PER_USER: '2' })
  const token = login('ada', { rooms: ['hall', 'page:*'] })
  const options = { token, reconnection: false }
  const here = connectSession(one.publicUrl, options)
  const there = connectSession(other.publicUrl, options)
  for (const session of [here, there]) await session.notice('sidecast:ready')
  const counted = ({ sessions }: Readonly<Record<string, unknown>>): boolean => sessions === 2
  await eventually(one, '/v1/rooms/hall', counted)
  await other.eventually('/v1/rooms/hall', counted)
  const to = { rooms: ['hall'] }
  expect(await one.publish({ event: 'a', to })).toMatchObject({ matched: 2 })
  expect(await other.call('POST', '/v1/events', { event: 'b', to })).toMatchObject({ status: 202, body: { matched: 2 } })
  for (const session of [here, there]) expect([(await session.event(1)).event, (await session.event(2)).event]).toEqual(['a', 'b'])

  expect(await there.request('sidecast:join', { room: 'page:1' })).toMatchObject({ ok: true })
  await eventually(one, '/v1/rooms/page:1', ({ sessions }) => sessions === 1)
  // A limit counts everywhere.
  for (const url of [one.publicUrl, other.publicUrl]) {
    await using third = connectSession(url, options)
    expect(await third.refused()).toMatchObject({ code: 'session_limit' })
  }

  await other.process.kill()
  await eventually(one, '/v1/rooms/hall', ({ sessions }) => sessions === 1)
  expect(await one.publish({ event: 'c', to })).toMatchObject({ matched: 1 })
  expect(await here.event(3)).toMatchObject({ event: 'c' })
  for (const { socket } of [here, there]) socket.disconnect()
})

test('workers on a Redis: what is accepted reaches the sessions of all, and who resumes misses nothing', async () => {
  await using redis = await startRedis()
  await using bridge = await startWorkerBridge({ REDIS_URL: redis.url, WORKERS: '2' })
  const sessions = Array.from({ length: 6 }, (_, index) => connectSession(bridge.publicUrl, { token: login(`user-${index}`) }))
  for (const session of sessions) await session.notice('sidecast:ready')
  const publish = (data: number) => bridge.call('POST', '/v1/events', { event: 'numbered', data, to: { all: true } })
  for (let number = 0; number < 20; number++) expect(await publish(number)).toMatchObject({ status: 202, body: { matched: 6 } })
  for (const [, pid] of await bridge.workerPids()) process.kill(pid, 'SIGKILL')
  for (let number = 20; number < 40; number++) expect(await publish(number)).toMatchObject({ status: 202 })
  for (const session of sessions) {
    await session.event(40)
    expect(session.received.map(({ data }) => data)).toEqual(Array.from({ length: 40 }, (_, index) => index))
    expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true } })
  }
  for (const { socket } of sessions) socket.disconnect()
})

test('what a parent with workers was killed with is removed by the next one', async () => {
  await using redis = await startRedis()
  await using first = await startWorkerBridge({ REDIS_URL: redis.url, WORKERS: '2' })
  const windows = async () => (await readdir(first.directory)).filter((name) => name.startsWith('window-'))
  const [left] = await windows()
  await first.process.kill()
  await using second = await startWorkerBridge({ REDIS_URL: redis.url, WORKERS: '2' }, first.directory)
  expect(await windows()).toHaveLength(1)
  expect(await windows()).not.toContain(left)
  second.process.signal('SIGTERM')
  expect(await second.process.ended).toMatchObject({ code: 0 })
  expect(await windows()).toEqual([])
})

test('workers tell their clients when Redis has lost what was accepted', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no' } })
  await using bridge = await startWorkerBridge({ REDIS_URL: redis.url, WORKERS: '2' })
  await using session = connectSession(bridge.publicUrl, { token: login('ada') })
  await session.notice('sidecast:ready')
  const publish = (event: string) => bridge.call('POST', '/v1/events', { event, to: { users: ['ada'] } })
  expect(await publish('first')).toMatchObject({ status: 202 })
  await session.event()
  await redis.kill()
  await redis.start()
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: false, reason: 'gap' } })
  while ((await publish('second')).status !== 202);
  await session.until(() => session.received.some(({ event }) => event === 'second'))
})
