import { randomBytes } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { stopClock } from '../support/clock.ts'
import { openRaw } from './raw-client.ts'
import { startGateway } from './start-gateway.ts'

const seconds = (): number => Date.now() / 1000
const transports = ['websocket', 'polling'] as const

/** Publishes numbers to user 42, one after the other, until it holds. Returns how many. */
async function publishUntil(bridge: TestBridge, holds: () => boolean): Promise<number> {
  let count = 0
  while (!holds()) await bridge.publish({ event: 'n', data: count++, to: { users: ['42'] } })
  return count
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

/** The names of what it was told, with what is told about which room. */
const told = ({ notices }: TestSession) => notices.map(({ event, data }) => [event, Object(data).room, Object(data).by].filter(Boolean).join(' '))

test('a refresh takes the session over to the new token: its end, the rooms that it names, and no others', async () => {
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['a', 'b', 'x:*'] }) })
  await session.notice('sidecast:ready')
  expect(await session.request('sidecast:join', { room: 'x:1' })).toMatchObject({ ok: true })

  const exp = Math.floor(seconds()) + 7200
  const answer = await session.request('sidecast:refresh', { token: login('42', { rooms: ['b', 'c'], exp }) })
  expect(answer).toEqual({ ok: true, expiresAt: exp * 1000, rooms: expect.any(Array) })
  expect(answer.rooms?.toSorted()).toEqual(['b', 'c', 'user:42'])
  expect(told(session)).toEqual([
    'sidecast:ready',
    'sidecast:joined x:1 request',
    'sidecast:left a token',
    'sidecast:left x:1 request',
    'sidecast:joined c token',
  ])
  expect((await bridge.call('GET', '/v1/users/42')).body.sessions).toMatchObject([{ expiresAt: exp * 1000 }])

  const matched: unknown[] = []
  for (const room of ['a', 'x:1', 'b', 'c']) matched.push((await bridge.publish({ event: `in.${room}`, to: { rooms: [room] } })).matched)
  expect(matched).toEqual([0, 0, 1, 1])
  await session.event(2)
  expect(session.received.map(({ event }) => event)).toEqual(['in.b', 'in.c'])
})

test('what is told of rooms after a refresh moves the client to where the change holds: a resume does not bring what came before', async () => {
  await using bridge = await startTestBridge()
  let token = login('42', { rooms: ['a'] })
  await using session = connectSession(bridge.publicUrl, { token: () => token })
  await session.notice('sidecast:ready')
  await bridge.publish({ event: 'before', to: { rooms: ['c'] } })
  token = login('42', { rooms: ['a', 'c'] })
  await session.request('sidecast:refresh', { token })
  session.cut()
  await session.closed()
  await bridge.publish({ event: 'meanwhile', to: { rooms: ['c'] } })
  expect((await session.notice('sidecast:ready', 2)).data).toMatchObject({ recovered: true, rooms: expect.arrayContaining(['a', 'c']) })
  await bridge.publish({ event: 'after', to: { rooms: ['c'] } })
  await session.event(2)
  expect(session.received.map(({ event }) => event)).toEqual(['meanwhile', 'after'])
})

test('a refused refresh says why and leaves the session as it was', async () => {
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['a'] }) })
  const { expiresAt } = Object((await session.notice('sidecast:ready')).data)
  await bridge.call('POST', '/v1/revocations', { jti: 'stolen' })
  const refresh = async (token: unknown) => (await session.request('sidecast:refresh', { token })).error
  expect(await refresh(login('43'))).toEqual({
    code: 'token_claims',
    message: 'The login token lacks a claim that is needed here, or has one of the wrong kind.',
    retry: false,
  })
  expect(await refresh(login('42', { exp: seconds() - 1 }))).toMatchObject({ code: 'token_expired', retry: true })
  expect(await refresh(jwt.sign({ sub: '42', exp: seconds() + 60 }, randomBytes(48)))).toMatchObject({ code: 'token_signature' })
  expect(await refresh(login('42', { jti: 'stolen' }))).toMatchObject({ code: 'token_revoked' })
  expect(await refresh('nonsense')).toMatchObject({ code: 'token_malformed' })
  for (const none of [undefined, null, '', 7, {}]) expect(await refresh(none)).toMatchObject({ code: 'invalid_request' })

  expect((await bridge.call('GET', '/v1/users/42')).body.sessions).toMatchObject([{ expiresAt, rooms: expect.arrayContaining(['a']) }])
  await bridge.publish({ event: 'still.here', to: { rooms: ['a'] } })
  expect(await session.event()).toMatchObject({ event: 'still.here' })
  expect(told(session)).toEqual(['sidecast:ready'])
})

test('a session may refresh now and then, not as often as it likes; its joins do not suffer', async () => {
  using _ = stopClock()
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['x:*'] }) })
  await session.notice('sidecast:ready')
  const answers = await Promise.all(Array.from({ length: 30 }, () => session.request('sidecast:refresh', { token: login('42', { rooms: ['x:*'] }) })))
  const refused = answers.filter(({ ok }) => !ok)
  expect(answers.slice(0, 10).every(({ ok }) => ok)).toBe(true)
  expect(refused).toHaveLength(20)
  for (const { error } of refused) expect(error).toEqual({ code: 'rate_limited', message: 'Too many requests.', retry: true })
  expect(await session.request('sidecast:join', { room: 'x:1' })).toMatchObject({ ok: true })
  expect(await session.request('sidecast:join', { room: 'y' })).toMatchObject({ error: { code: 'room_forbidden', retry: false } })
  const metrics = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  expect(metrics).toContain('sidecast_requests_refused_total{request="refresh",code="rate_limited"} 20\n')
  expect(metrics).toContain('sidecast_requests_refused_total{request="join",code="room_forbidden"} 1\n')
})

test('of two refreshes the later one holds, also when its token is known to be good before the other', async () => {
  const waits: Record<string, Promise<void>> = {}
  let release = (): void => undefined
  waits.slow = new Promise((resolve) => {
    release = resolve
  })
  await using gateway = await startGateway(async ({ token = '' }) => {
    await waits[token]
    return { user: '42', rooms: [token], grants: [] }
  })
  await using session = connectSession(gateway.url, { token: 'first' })
  await session.notice('sidecast:ready')
  const slow = session.request('sidecast:refresh', { token: 'slow' })
  const quick = session.request('sidecast:refresh', { token: 'quick' })
  // Behind both of them.
  await session.request('sidecast:leave', { room: 'nowhere' })
  release()
  expect(await slow).toMatchObject({ rooms: ['slow'] })
  expect(await quick).toMatchObject({ rooms: ['quick'] })
})

test('when nobody can say who a token is of, the refresh is refused as unavailable and the session goes on', async () => {
  await using gateway = await startGateway(async ({ token }) => {
    if (token === 'odd') throw new TypeError('canary')
    return { user: '42', rooms: [], grants: [] }
  })
  await using session = connectSession(gateway.url, { token: 'good' })
  await session.notice('sidecast:ready')
  const answer = await session.request('sidecast:refresh', { token: 'odd' })
  expect(answer).toMatchObject({ ok: false, error: { code: 'unavailable' } })
  expect(JSON.stringify(answer)).not.toContain('canary')
  expect(await session.request('sidecast:refresh', { token: 'good' })).toEqual({ ok: true, expiresAt: null, rooms: [] })
  expect(gateway.failures).toHaveLength(1)
})

test('the end of a token is announced once, and moves the client nowhere', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  let token = login('42', { exp: seconds() + 40 })
  await using session = connectSession(bridge.publicUrl, { token: () => token })
  const { expiresAt } = Object((await session.notice('sidecast:ready')).data)
  const { offset } = await bridge.publish({ event: 'mine', to: { users: ['42'] } })
  await session.event()
  await bridge.publish({ event: 'of.others', to: { users: ['43'] } })
  // A quarter of its life ahead.
  clock.pass(30_000)
  expect(await session.notice('sidecast:expiring')).toEqual({ event: 'sidecast:expiring', data: { expiresAt }, offset })
  token = login('42')
  clock.pass(10_000)
  await session.notice('sidecast:ready', 2)
  expect(told(session)).toEqual(['sidecast:ready', 'sidecast:expiring', 'sidecast:disconnect', 'sidecast:ready'])
})

test.each(transports)('a page that refreshes when it is told to stays connected and gets all, once, in order, over %s', async (transport) => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  const token = () => login('42', { exp: seconds() + 40, rooms: ['a'] })
  await using session = connectSession(bridge.publicUrl, { token, transports: [transport] })
  const answers: unknown[] = []
  const isTold = () => clock.pass(30_000)
  session.socket.on('sidecast:expiring', async () => {
    answers.push(await session.request('sidecast:refresh', { token: token() }))
    // The last one ends it: a request that nobody waits for would fail with the session.
    if (answers.length < 4) isTold()
  })
  await session.notice('sidecast:ready')
  isTold()
  const count = await publishUntil(bridge, () => answers.length === 4)
  await session.event(count)
  expect(session.received.map(({ data }) => data)).toEqual(numbers(count))
  expect(answers).toEqual(answers.map(() => ({ ok: true, expiresAt: expect.any(Number), rooms: expect.any(Array) })))
  expect(new Set(told(session))).toEqual(new Set(['sidecast:ready', 'sidecast:expiring']))
})

test.each(transports)('a page that asks for a token on each connect is closed at the end of each, and misses nothing, over %s', async (transport) => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  const token = () => login('42', { exp: seconds() + 40 })
  await using session = connectSession(bridge.publicUrl, { token, transports: [transport] })
  session.socket.on('sidecast:ready', () => clock.pass(40_000))
  const isReady = (count: number) => session.notices.filter(({ event }) => event === 'sidecast:ready').length >= count
  const count = await publishUntil(bridge, () => isReady(4))
  await session.event(count)
  expect(session.received.map(({ data }) => data)).toEqual(numbers(count))
  const ready = session.notices.filter(({ event }) => event === 'sidecast:ready').slice(1)
  expect(ready.map(({ data }) => Object(data).recovered)).toEqual(ready.map(() => true))
})

test('a token that comes to its end between its verification and the session is told, and over', async () => {
  await using gateway = await startGateway(async () => ({ user: '42', rooms: [], grants: [], expiresAt: Date.now() - 1 }))
  await using session = connectSession(gateway.url, { token: 'good', reconnection: false })
  await session.closed()
  expect(told(session)).toEqual(['sidecast:ready', 'sidecast:disconnect'])
  expect((await session.notice('sidecast:disconnect')).data).toMatchObject({ code: 'token_expired', retry: true })
})

test('a client that reads a long resume slowly is cut at the end of its token all the same, and goes on later', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s', MAX_EVENT_SIZE: '128kb', MAX_BUFFER: '256kb' })
  await using first = await openRaw(bridge.publicUrl)
  const { pid } = await first.login(login('42'))
  const [, offset = ''] = /"([^"]+)"\]$/.exec((await first.packet('42["sidecast:ready"')) ?? '') ?? []
  first.socket.terminate()
  const data = 'x'.repeat(100_000)
  for (let n = 0; n < 200; n++) await bridge.publish({ event: `n${n}`, data, to: { users: ['42'] } })

  await using slow = await openRaw(bridge.publicUrl)
  slow.send(`40${JSON.stringify({ token: login('42', { exp: seconds() + 40 }), pid, offset })}`)
  await slow.packet('42["n0"')
  slow.tcp.pause()
  clock.pass(40_000)
  await expect.poll(async () => ((await bridge.call('GET', '/v1/users/42')).body.sessions as readonly unknown[]).length).toBe(0)
  slow.tcp.resume()
  await slow.closed
  const events = slow.packets.filter((packet) => packet.startsWith('42["n'))
  expect(slow.packets.some((packet) => packet.startsWith('42["sidecast:ready"'))).toBe(false)

  await using back = await openRaw(bridge.publicUrl)
  const [, last = ''] = /"([^"]+)"\]$/.exec(slow.packets.at(-1) ?? '') ?? []
  back.send(`40${JSON.stringify({ token: login('42'), pid, offset: last })}`)
  await back.packet('42["sidecast:ready"')
  const rest = back.packets.filter((packet) => packet.startsWith('42["n'))
  expect([...events, ...rest].map((packet) => packet.slice(4, packet.indexOf('"', 4)))).toEqual(numbers(200).map((n) => `n${n}`))
})

test('a session whose token ends while the bridge drains is told one end', async () => {
  using clock = stopClock()
  const bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s', DRAIN_PERIOD: '6s' })
  await using sessions = new AsyncDisposableStack()
  const all = numbers(4).map((n) =>
    sessions.use(connectSession(bridge.publicUrl, { token: login(`u${n}`, { exp: seconds() + 40 }), reconnection: false })),
  )
  for (const session of all) await session.notice('sidecast:ready')
  const stopped = bridge[Symbol.asyncDispose]()
  await Promise.race(all.map((session) => session.closed()))
  clock.pass(40_000)
  await stopped
  for (const session of all) await session.closed()
  const ends = all.map(({ notices }) => notices.filter(({ event }) => event === 'sidecast:disconnect').map(({ data }) => Object(data).code))
  expect(ends.flat()).toHaveLength(all.length)
  expect(new Set(ends.flat())).toEqual(new Set(['draining', 'token_expired']))
})
