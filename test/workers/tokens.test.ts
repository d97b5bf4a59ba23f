import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import { login, secret } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { startWorkerBridge, type WorkerBridge, workerOf } from './worker-bridge.ts'

const seconds = (): number => Date.now() / 1000

/** Sessions at two workers, by these tokens. */
async function connectApart(bridge: WorkerBridge, ...tokens: readonly string[]): Promise<readonly TestSession[]> {
  const sessions: TestSession[] = []
  for (const token of tokens) {
    const session = connectSession(bridge.publicUrl, { token })
    await session.notice('sidecast:ready')
    sessions.push(session)
  }
  expect(new Set(sessions.map(workerOf)).size).toBe(2)
  return sessions
}

const isOver = ({ sessions }: Readonly<Record<string, unknown>>): boolean => sessions === 0

test('what was allowed until now ends at a worker, for its session, for publishers, and for a resume', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  const token = jwt.sign({ aud: 'sidecast:room', sub: '42', room: 'order:7', exp: seconds() + 5 }, secret)
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: false, error: { code: 'room_forbidden' } })
  expect(await session.request('sidecast:join', { room: 'order:7', token })).toEqual({ ok: true, room: 'order:7' })
  expect(await bridge.call('POST', '/v1/events', { event: 'first', to: { rooms: ['order:7'] } })).toMatchObject({ status: 202 })
  expect(await session.event()).toMatchObject({ event: 'first' })
  expect(await session.notice('sidecast:left')).toMatchObject({ data: { room: 'order:7', by: 'request' } })
  await bridge.eventually('/v1/rooms/order:7', isOver)
  expect(await bridge.call('POST', '/v1/events', { event: 'late', to: { rooms: ['order:7'] } })).toMatchObject({ body: { matched: 0 } })
  // It goes on after what is in the log by now: that the stay is over stands there too, and is not told again.
  await bridge.call('POST', '/v1/events', { event: 'marker', to: { users: ['42'] } })
  await session.event(2)
  session.cut()
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true, rooms: expect.not.arrayContaining(['order:7']) } })
  expect(session.notices.filter(({ event }) => event === 'sidecast:left')).toHaveLength(1)
  expect(session.received.map(({ event }) => event)).toEqual(['first', 'marker'])
})

test('a token that is shown at a worker holds for all, and one that ends is told of first', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['a'], exp: seconds() + 12 }), reconnection: false })
  await session.notice('sidecast:ready')
  await session.notice('sidecast:expiring')
  const exp = Math.floor(seconds()) + 7200
  expect(await session.request('sidecast:refresh', { token: login('42', { rooms: ['b'], exp }) })).toMatchObject({ ok: true, expiresAt: exp * 1000 })
  await bridge.eventually('/v1/users/42', ({ sessions }) => JSON.stringify(sessions).includes(`"expiresAt":${exp * 1000}`))
  await bridge.eventually('/v1/rooms/a', isOver)
  expect(await bridge.call('POST', '/v1/events', { event: 'b', to: { rooms: ['b'] } })).toMatchObject({ body: { matched: 1 } })
  expect(await session.event()).toMatchObject({ event: 'b' })

  const end = seconds() + 4
  await session.request('sidecast:refresh', { token: login('42', { exp: end }) })
  expect(await session.notice('sidecast:disconnect')).toMatchObject({ data: { code: 'token_expired' } })
  await bridge.eventually('/v1/users/42', ({ online }) => online === false)
})

test('a revocation says how many sessions it has ended, at whichever worker, by what their tokens are now', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const token = (jti: string): string => login('42', { jti, sid: 'phone' })
  const sessions = await connectApart(bridge, token('one'), token('two'), token('three'))
  const [first, second, third] = sessions
  const online = (count: number) => bridge.eventually('/v1/users/42', ({ sessions: all }) => Array.isArray(all) && all.length === count)
  await online(3)
  const exp = Math.floor(seconds()) + 7200
  await first?.request('sidecast:refresh', { token: login('42', { jti: 'four', sid: 'phone', exp }) })
  await bridge.eventually('/v1/users/42', ({ sessions: all }) => JSON.stringify(all).includes(`"expiresAt":${exp * 1000}`))

  const revoke = (body: object) => bridge.call('POST', '/v1/revocations', body)
  expect(await revoke({ jti: 'one' })).toMatchObject({ status: 202, body: { sessions: 0 } })
  expect(await revoke({ jti: 'four' })).toMatchObject({ status: 202, body: { sessions: 1 } })
  expect(await first?.notice('sidecast:disconnect')).toMatchObject({ data: { code: 'token_revoked', retry: false } })
  expect(await revoke({ user: '43', sid: 'phone' })).toMatchObject({ body: { sessions: 0 } })
  expect(await revoke({ sid: 'phone' })).toMatchObject({ body: { sessions: 2 } })
  for (const session of [second, third]) expect(await session?.closed()).toBe('io server disconnect')
  await using refused = connectSession(bridge.publicUrl, { token: token('five'), reconnection: false })
  expect(await refused.refused()).toMatchObject({ code: 'token_revoked' })
})

test('a token of an issuer whose clock is ahead is revoked with its session, and opens no other one', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', JWT_CLOCK_TOLERANCE: '1m' })
  const token = login('42', { iat: Math.floor(seconds()) + 20 })
  await using session = connectSession(bridge.publicUrl, { token })
  await session.notice('sidecast:ready')
  await bridge.eventually('/v1/users/42', ({ online }) => online === true)
  expect(await bridge.call('POST', '/v1/revocations', { user: '42' })).toMatchObject({ status: 202, body: { sessions: 1 } })
  expect(await session.closed()).toBe('io server disconnect')
  await using again = connectSession(bridge.publicUrl, { token, reconnection: false })
  expect(await again.refused()).toMatchObject({ code: 'token_revoked' })
})
