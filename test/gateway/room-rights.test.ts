import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import type { RoomAuthorizer } from '../../src/core/room-authorizer.ts'
import { BridgeError } from '../../src/errors.ts'
import { login, secret, startTestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { stopClock } from '../support/clock.ts'
import { startGateway } from './start-gateway.ts'

const seconds = (): number => Date.now() / 1000

function roomToken(room: string, claims: Readonly<Record<string, unknown>> = {}): string {
  return jwt.sign({ aud: 'sidecast:room', sub: '42', room, iat: seconds(), exp: seconds() + 60, ...claims }, secret)
}

const changes = ({ notices }: TestSession) =>
  notices.filter(({ event }) => event !== 'sidecast:ready').map(({ event, data }) => `${event} ${Object(data).room} ${Object(data).by}`)

test('a room token opens its room until it ends; then the session leaves, and gets nothing more', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  const token = roomToken('order:7', { exp: seconds() + 30 })
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: false, error: { code: 'room_forbidden' } })
  expect(await session.request('sidecast:join', { room: 'order:7', token })).toEqual({ ok: true, room: 'order:7' })
  const matched = async () => (await bridge.publish({ event: 'n', to: { rooms: ['order:7'] } })).matched
  clock.pass(29_999)
  expect(await matched()).toBe(1)
  clock.pass(1)
  expect(await matched()).toBe(0)
  await session.notice('sidecast:left')
  expect(changes(session)).toEqual(['sidecast:joined order:7 request', 'sidecast:left order:7 request'])
  expect(await session.request('sidecast:join', { room: 'order:7', token })).toMatchObject({ ok: false, error: { code: 'token_expired' } })
})

test('a later room token prolongs the stay, without a word about the room', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  await session.request('sidecast:join', { room: 'order:7', token: roomToken('order:7', { exp: seconds() + 15 }) })
  await session.request('sidecast:join', { room: 'order:7', token: roomToken('order:7') })
  // One that is over when the first would have been.
  await session.request('sidecast:join', { room: 'order:8', token: roomToken('order:8', { exp: seconds() + 17 }) })
  clock.pass(17_000)
  await session.notice('sidecast:left')
  expect(changes(session)).toEqual(['sidecast:joined order:7 request', 'sidecast:joined order:8 request', 'sidecast:left order:8 request'])
})

test('the room is there again after a resume, and not when the right has ended meanwhile', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  await session.request('sidecast:join', { room: 'short', token: roomToken('short', { exp: seconds() + 15 }) })
  await session.request('sidecast:join', { room: 'long', token: roomToken('long') })
  session.cut()
  await session.closed()
  for (const room of ['short', 'long']) await bridge.publish({ event: `while.away.${room}`, to: { rooms: [room] } })
  const ready = await session.notice('sidecast:ready', 2)
  expect(ready.data).toMatchObject({ recovered: true, rooms: expect.arrayContaining(['long', 'short']) })
  await session.event(2)

  clock.pass(15_000)
  await session.notice('sidecast:left')
  const end = seconds() + 10
  await session.request('sidecast:join', { room: 'brief', token: roomToken('brief', { exp: end }) })
  session.socket.io.reconnection(false)
  session.cut()
  await session.closed(2)
  clock.pass(10_000)
  session.socket.connect()
  const again = await session.notice('sidecast:ready', 3)
  expect(Object(again.data).rooms.toSorted()).toEqual(['long', 'user:42'])
  expect(changes(session)).toEqual([
    'sidecast:joined short request',
    'sidecast:joined long request',
    'sidecast:left short request',
    'sidecast:joined brief request',
    'sidecast:left brief request',
  ])
  expect(session.received.map(({ event }) => event)).toEqual(['while.away.short', 'while.away.long'])
})

test('the application takes the user out of the room for good: only a room token that is newer lets it in again', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: () => login('42', { iat: seconds() }) })
  await session.notice('sidecast:ready')
  const old = roomToken('order:7')
  await session.request('sidecast:join', { room: 'order:7', token: old })
  await bridge.call('DELETE', '/v1/rooms/order:7/users/42')
  expect((await session.notice('sidecast:left')).data).toEqual({ room: 'order:7', by: 'backend' })
  expect(await session.request('sidecast:join', { room: 'order:7', token: old })).toMatchObject({ error: { code: 'room_forbidden' } })
  clock.pass(1)
  expect(await session.request('sidecast:join', { room: 'order:7', token: roomToken('order:7') })).toMatchObject({ ok: true })
  expect((await bridge.publish({ event: 'in.again', to: { rooms: ['order:7'] } })).matched).toBe(1)
  session.cut()
  await session.closed()
  // What it was allowed does not depend on the login, which is newer than this.
  await bridge.publish({ event: 'while.away', to: { rooms: ['order:7'] } })
  await session.notice('sidecast:ready', 2)
  await session.event(2)
  expect(session.received.map(({ event }) => event)).toEqual(['in.again', 'while.away'])
})

test('joins of one room at once are one question; what cannot be answered is a no', async () => {
  const asked: string[] = []
  let answer = (): void => undefined
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  const authorizeRoom: RoomAuthorizer = {
    async authorize(_session, room, roomToken) {
      asked.push(`${room} ${roomToken}`)
      await answered
      if (room === 'down') throw new BridgeError('unavailable', 'canary')
      if (room === 'odd') throw new TypeError('canary')
      return { givenAt: Date.now() }
    },
  }
  await using gateway = await startGateway(async () => ({ user: '42', rooms: [], grants: [] }), {}, { authorizeRoom })
  await using session = connectSession(gateway.url, { token: 'good' })
  await session.notice('sidecast:ready')
  const wanted = [{ room: 'a' }, { room: 'a' }, { room: 'a', token: 't' }, { room: 'down' }, { room: 'odd' }, { room: 'a', token: 7 }]
  const joins = wanted.map((body) => session.request('sidecast:join', body))
  // Behind all of them: the answers may take as long as they like.
  await expect.poll(() => asked.length).toBe(4)
  answer()
  const codes = (await Promise.all(joins)).map(({ ok, error }) => (ok ? 'ok' : error?.code))
  expect(codes).toEqual(['ok', 'ok', 'ok', 'unavailable', 'unavailable', 'invalid_request'])
  expect(asked).toEqual(['a undefined', 'a t', 'down undefined', 'odd undefined'])
  expect(changes(session)).toEqual(['sidecast:joined a request'])
  expect(await session.request('sidecast:join', { room: 'a' })).toMatchObject({ ok: true })
  expect(asked).toHaveLength(4)
})
