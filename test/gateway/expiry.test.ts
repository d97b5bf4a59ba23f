import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import { login, secret, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { stopClock } from '../support/clock.ts'

const seconds = (): number => Date.now() / 1000

test('a session ends when its token expires, and a client that fetches a fresh token comes back and has missed nothing', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  const tokens: string[] = []
  const fresh = (): string => {
    // The first one is over soon, those after it last.
    const token = login('42', { exp: seconds() + (tokens.length === 0 ? 60 : 3600) })
    tokens.push(token)
    return token
  }
  await using session = connectSession(bridge.publicUrl, { token: fresh })
  await session.notice('sidecast:ready')
  let published = 0
  const publish = () => bridge.publish({ event: 'n', data: published++, to: { users: ['42'] } })
  await publish()

  const ended = session.closed()
  clock.pass(60_000)
  let over = false
  void ended.then(() => {
    over = true
  })
  while (!over) await publish()
  expect(await ended).toBe('transport close')
  expect((await session.notice('sidecast:disconnect')).data).toEqual({ code: 'token_expired', message: 'The login token has expired.', retry: true })
  for (let more = 0; more < 5; more++) await publish()

  expect((await session.notice('sidecast:ready', 2)).data).toMatchObject({ recovered: true })
  expect(session.socket.recovered).toBe(true)
  await publish()
  await session.event(published)
  expect(session.received.map(({ data }) => data)).toEqual(Array.from({ length: published }, (_, n) => n))
  expect(tokens).toHaveLength(2)
})

test('a session outlives the expiry of its token by the tolerance', async () => {
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '1h' })
  await using session = connectSession(bridge.publicUrl, { token: login('42', { exp: seconds() - 3000 }) })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: '42' })
})

test('the end is not told before it has come', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  const expiresAt = Date.now() + 60_000
  await using session = connectSession(bridge.publicUrl, { token: login('42', { exp: expiresAt / 1000 }), reconnection: false })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ expiresAt })
  clock.pass(59_999)
  // Whatever is over by now is ended before the dispatch of an event.
  await bridge.publish({ event: 'n', to: { users: ['42'] } })
  await session.event()
  clock.pass(1)
  await session.closed()
})

test('a client that keeps its expired token is refused with token_expired, and may try again', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42', { exp: seconds() + 60 }) })
  await session.notice('sidecast:ready')
  clock.pass(60_000)
  await session.closed()
  expect(await session.refused()).toEqual({ code: 'token_expired', message: 'The login token has expired.', retry: true })
})

test('expiry reaches a client on long-polling too', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  await using session = connectSession(bridge.publicUrl, {
    token: login('42', { exp: seconds() + 60 }),
    transports: ['polling'],
    reconnection: false,
  })
  await session.notice('sidecast:ready')
  clock.pass(60_000)
  await session.closed()
  expect((await session.notice('sidecast:disconnect')).data).toMatchObject({ code: 'token_expired' })
})

test('a token for forty days, more than timers can wait for, and one without end keep their sessions', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s', JWT_REQUIRE_EXP: 'false' })
  const day = 24 * 3600
  await using long = connectSession(bridge.publicUrl, { token: login('long', { exp: seconds() + 40 * day }) })
  await using endless = connectSession(bridge.publicUrl, { token: jwt.sign({ sub: 'endless' }, secret) })
  await using furthest = connectSession(bridge.publicUrl, { token: login('furthest', { exp: 1e11 }) })
  for (const session of [long, endless, furthest]) await session.notice('sidecast:ready')
  expect((await endless.notice('sidecast:ready')).data).toMatchObject({ expiresAt: null })
  // Behind them comes one whose end is seen: the sweep has been there.
  await using short = connectSession(bridge.publicUrl, { token: login('short', { exp: seconds() + 60 }), reconnection: false })
  await short.notice('sidecast:ready')
  clock.pass(60_000)
  await short.closed()
  await bridge.publish({ event: 'still.here', to: { users: ['long', 'endless', 'furthest'] } })
  for (const session of [long, endless, furthest]) expect(await session.event()).toMatchObject({ event: 'still.here' })
})

test('a user has as many sessions as are configured; one more is refused, until another has gone', async () => {
  await using bridge = await startTestBridge({ SESSIONS_PER_USER: '3' })
  await using sessions = new AsyncDisposableStack()
  const opened = Array.from({ length: 3 }, () => sessions.use(connectSession(bridge.publicUrl, { token: login('42') })))
  for (const session of opened) await session.notice('sidecast:ready')
  await using surplus = connectSession(bridge.publicUrl, { token: login('42') })
  expect(await surplus.refused()).toEqual({ code: 'session_limit', message: 'This user has too many open sessions.', retry: true })
  await using other = connectSession(bridge.publicUrl, { token: login('43') })
  await other.notice('sidecast:ready')

  opened[0]?.socket.disconnect()
  await expect.poll(async () => ((await bridge.call('GET', '/v1/users/42')).body.sessions as readonly unknown[]).length).toBe(2)
  surplus.socket.connect()
  await surplus.notice('sidecast:ready')
})

test('a session that comes back on a new connection does not count against itself', async () => {
  await using bridge = await startTestBridge({ SESSIONS_PER_USER: '1' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  const { offset } = await session.notice('sidecast:ready')
  await using again = connectSession(bridge.publicUrl, {
    auth: (give) => give({ token: login('42'), pid: Reflect.get(session.socket, '_pid'), offset }),
  })
  expect((await again.notice('sidecast:ready')).data).toMatchObject({ recovered: true })
})

test('many logins of one user at the same moment do not get past the limit', async () => {
  await using bridge = await startTestBridge({ SESSIONS_PER_USER: '5' })
  await using sessions = new AsyncDisposableStack()
  const all = Array.from({ length: 20 }, () => sessions.use(connectSession(bridge.publicUrl, { token: login('42'), reconnection: false })))
  const outcomes = await Promise.all(
    all.map((session) => Promise.race([session.notice('sidecast:ready').then(() => 'open'), session.refused().then(({ code }) => code)])),
  )
  expect(outcomes.filter((outcome) => outcome === 'open')).toHaveLength(5)
  expect(outcomes.filter((outcome) => outcome === 'session_limit')).toHaveLength(15)
})
