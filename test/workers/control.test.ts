import { expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { startWorkerBridge, type WorkerBridge, workerOf } from './worker-bridge.ts'

/** Two sessions of one user, at different workers. */
async function connectApart(bridge: WorkerBridge, token: string): Promise<readonly [TestSession, TestSession]> {
  const one = connectSession(bridge.publicUrl, { token })
  await one.notice('sidecast:ready')
  for (;;) {
    const other = connectSession(bridge.publicUrl, { token })
    await other.notice('sidecast:ready')
    if (workerOf(one) !== workerOf(other)) return [one, other]
    other.socket.disconnect()
    await bridge.eventually('/v1/users/ada', ({ sessions }) => Object(sessions).length === 1)
  }
}

test('membership is in force at every worker before the next event, and is counted', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  await using guest = connectSession(bridge.publicUrl, { token: login('guest') })
  await guest.notice('sidecast:ready')
  const [one, other] = await connectApart(bridge, login('ada'))
  for (let round = 0; round < 20; round++) {
    expect(await bridge.call('PUT', '/v1/rooms/team/users/ada')).toMatchObject({ status: 202 })
    expect(await bridge.call('POST', '/v1/events', { event: 'in', data: round, to: { rooms: ['team'] } })).toMatchObject({ body: { matched: 2 } })
    expect(await bridge.call('DELETE', '/v1/rooms/team/users/ada')).toMatchObject({ status: 202 })
    expect(await bridge.call('POST', '/v1/events', { event: 'out', data: round, to: { rooms: ['team'] } })).toMatchObject({ body: { matched: 0 } })
  }
  await bridge.call('POST', '/v1/events', { event: 'last', to: { all: true } })
  for (const session of [one, other, guest]) await session.until(() => session.received.some(({ event }) => event === 'last'))
  for (const { received } of [one, other]) {
    expect(received.map(({ event }) => event)).toEqual([...Array.from({ length: 20 }, () => 'in'), 'last'])
  }
  expect(guest.received.map(({ event }) => event)).toEqual(['last'])
  for (const { socket } of [one, other]) socket.disconnect()
})

test('what a session asks for at its worker holds for all publishers', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const [one, other] = await connectApart(bridge, login('ada', { rooms: ['page:*'] }))
  expect(await one.request('sidecast:join', { room: 'page:1' })).toMatchObject({ ok: true })
  expect(await one.request('sidecast:join', { room: 'secret' })).toMatchObject({ ok: false, error: { code: 'room_forbidden' } })
  await bridge.eventually('/v1/rooms/page:1', ({ sessions }) => sessions === 1)
  const to = { rooms: ['page:1'] }
  expect(await bridge.call('POST', '/v1/events', { event: 'page', to })).toMatchObject({ body: { matched: 1 } })
  expect(await one.event()).toMatchObject({ event: 'page' })
  expect(await bridge.call('POST', '/v1/events?dry_run=true', { event: 'page', to })).toMatchObject({ status: 200, body: { matched: 1, users: 1 } })
  expect(await one.request('sidecast:leave', { room: 'page:1' })).toMatchObject({ ok: true })
  await bridge.eventually('/v1/rooms/page:1', ({ sessions }) => sessions === 0)
  expect(other.received).toEqual([])
  for (const { socket } of [one, other]) socket.disconnect()
})

test('a disconnect reaches the sessions of a user at every worker, and none of them comes back', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const [one, other] = await connectApart(bridge, login('ada'))
  expect(await bridge.call('POST', '/v1/users/ada/disconnect')).toMatchObject({ status: 202 })
  for (const session of [one, other]) {
    expect(await session.notice('sidecast:disconnect')).toMatchObject({ data: { code: 'disconnected' } })
    expect(await session.closed()).toBe('io server disconnect')
  }
  expect(await bridge.call('GET', '/v1/users/ada')).toMatchObject({ body: { online: false } })
})

test('the limit of sessions counts those at other workers', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', SESSIONS_PER_USER: '2' })
  const [one, other] = await connectApart(bridge, login('ada'))
  await bridge.eventually('/v1/users/ada', ({ sessions }) => Object(sessions).length === 2)
  await using third = connectSession(bridge.publicUrl, { token: login('ada') })
  expect(await third.refused()).toMatchObject({ code: 'session_limit' })
  for (const { socket } of [one, other]) socket.disconnect()
})

test('a session that continues at another worker ends where it was', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const first = connectSession(bridge.publicUrl, { token: login('ada'), reconnection: false })
  await first.notice('sidecast:ready')
  const { offset } = (await bridge.call('POST', '/v1/events', { event: 'a', to: { users: ['ada'] } })).body
  await first.event()
  // What a client that lost its line without a word presents elsewhere.
  const pid: unknown = Reflect.get(first.socket, '_pid')
  const second = connectSession(bridge.publicUrl, { auth: { token: login('ada'), pid, offset } })
  expect(await second.notice('sidecast:ready')).toMatchObject({ data: { recovered: true } })
  expect(workerOf(second)).not.toBe(workerOf(first))
  expect(await first.closed()).toBe('transport close')
  await bridge.eventually('/v1/users/ada', ({ sessions }) => Object(sessions).length === 1)
  expect(await bridge.call('POST', '/v1/events', { event: 'b', to: { users: ['ada'] } })).toMatchObject({ body: { matched: 1 } })
  expect(await second.event()).toMatchObject({ event: 'b' })
  second.socket.disconnect()
})
