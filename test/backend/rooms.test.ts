import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { stopClock } from '../support/clock.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { authorizeSecret, type PhpApplication, startPhpApplication } from './php-application.ts'

function start(application: Pick<PhpApplication, 'url'>, path: string, settings: Readonly<Record<string, string>> = {}) {
  return startTestBridge({ AUTHORIZE_ROOMS_URL: `${application.url}${path}`, AUTHORIZE_SECRET: authorizeSecret, ...settings })
}

const says = (answer: unknown, status = 200): string => `/says?status=${status}&json=${encodeURIComponent(JSON.stringify(answer))}`

async function join(session: TestSession, room: string): Promise<string> {
  const { ok, error } = await session.request('sidecast:join', { room })
  return ok ? 'joined' : (error?.code ?? 'no answer')
}

test('a room that the token does not open is opened by the application, which verifies who asks', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['news'] }) })
  const { session: id } = (await session.notice('sidecast:ready')).data as { readonly session: string }
  expect(await join(session, 'order:7')).toBe('joined')
  expect(await join(session, 'order:9')).toBe('room_forbidden')
  expect(await join(session, 'order:7:items')).toBe('room_forbidden')
  await bridge.publish({ event: 'shipped', data: 7, to: { rooms: ['order:7'] } })
  await bridge.publish({ event: 'shipped', data: 9, to: { rooms: ['order:9'] } })
  await bridge.publish({ event: 'end', to: { users: ['42'] } })
  await session.event(2)
  expect(session.received.map(({ event, data }) => [event, data])).toEqual([
    ['shipped', 7],
    ['end', null],
  ])
  const [question] = await application.questions()
  expect(question).toMatchObject({ method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json' } })
  expect(JSON.parse(question?.body ?? '')).toEqual({ user: '42', room: 'order:7', session: id })
})

test('nobody is asked about a room that the token opens, or that the backend has closed', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  await bridge.call('DELETE', '/v1/rooms/news/users/42')
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['order:*'] }) })
  expect(await join(session, 'order:9')).toBe('joined')
  expect(await application.questions()).toEqual([])
})

test('an application that another secret has signed for is not fooled, and says so', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize', { AUTHORIZE_SECRET: `whsec_${randomBytes(32).toString('base64')}` })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  expect(await join(session, 'order:7')).toBe('unavailable')
  expect(await application.questions()).toHaveLength(1)
})

test.each([
  ['a redirect', '/redirect'],
  ['HTML', '/html'],
  ['ten megabytes', '/large'],
  ['an exception', '/error'],
  ['a yes that is a text', says({ allowed: 'true' })],
  ['a yes that is a number', says({ allowed: 1 })],
  ['no yes', says({})],
  ['a list', says([{ allowed: true }])],
  ['an end that is none', says({ allowed: true, expiresAt: 'tomorrow' })],
  ['an end that is no number', says({ allowed: true, expiresAt: {} })],
  ['a yes with 201', says({ allowed: true }, 201)],
  ['a yes with 401', says({ allowed: true }, 401)],
  ['a yes with 500', says({ allowed: true }, 500)],
])('an application that answers with %s lets nobody in, and the session goes on', async (_name, path) => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, path)
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['news'] }) })
  const answer = await session.request('sidecast:join', { room: 'order:7' })
  // A code and our own text: nothing of what the application has said.
  expect(answer).toEqual({ ok: false, error: { code: 'unavailable', message: 'The service is not available at the moment.', retry: true } })
  await bridge.publish({ event: 'still.there', to: { rooms: ['news', 'order:7'] } })
  expect((await session.event()).event).toBe('still.there')
  // Asked once, without following anything.
  expect((await application.questions()).length).toBe(1)
})

test.each([
  ['403', says({ allowed: true }, 403)],
  ['404', '/nothing-here'],
  ['allowed: false', says({ allowed: false })],
  ['a yes that is over', says({ allowed: true, expiresAt: 1_000_000_000 })],
])('an application that answers with %s closes the room', async (_name, path) => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, path)
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  expect(await join(session, 'order:7')).toBe('room_forbidden')
})

test('an application that does not answer, or is not there, lets nobody in until it is back', async () => {
  await using application = await startPhpApplication()
  const { hostname, port } = new URL(application.url)
  await using way = await startTcpProxy({ host: hostname, port: Number(port) })
  await using bridge = await start({ url: `http://${way.host}:${way.port}` }, '/authorize', { AUTHORIZE_TIMEOUT: '2s' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  way.refuse()
  expect(await join(session, 'order:7')).toBe('unavailable')
  way.restore()
  way.blackHole()
  expect(await join(session, 'order:7')).toBe('unavailable')
  way.restore()
  expect(await join(session, 'order:7')).toBe('joined')
})

test('an application that hangs is waited for no longer than configured', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/hang', { AUTHORIZE_TIMEOUT: '200ms' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  expect(await join(session, 'order:7')).toBe('unavailable')
})

test('a room that is allowed until a moment is left at that moment', async () => {
  await using application = await startPhpApplication()
  using clock = stopClock()
  const until = new Date(Date.now() + 15_000).toISOString()
  await using bridge = await start(application, says({ allowed: true, expiresAt: until }))
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  expect(await join(session, 'order:7')).toBe('joined')
  clock.pass(15_000)
  expect((await session.notice('sidecast:left')).data).toMatchObject({ room: 'order:7' })
  await bridge.publish({ event: 'shipped', to: { rooms: ['order:7'] } })
  await bridge.publish({ event: 'end', to: { users: ['42'] } })
  expect((await session.event()).event).toBe('end')
})

test('one answer serves the same question for a while, yes and no; another user, room or login is another question', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize', { AUTHORIZE_CACHE: '1h', AUTHORIZE_FORWARD: 'x-tenant' })
  const sessions = Array.from({ length: 20 }, () => connectSession(bridge.publicUrl, { token: login('42') }))
  try {
    expect(await Promise.all(sessions.map((session) => join(session, 'order:7')))).toEqual(sessions.map(() => 'joined'))
    expect(await application.questions()).toHaveLength(1)
    expect(await Promise.all(sessions.map((session) => join(session, 'order:9')))).toEqual(sessions.map(() => 'room_forbidden'))
    expect(await application.questions()).toHaveLength(2)
    await using other = connectSession(bridge.publicUrl, { token: login('43') })
    expect(await join(other, 'order:7')).toBe('room_forbidden')
    expect(await join(other, 'order:9')).toBe('joined')
    expect(await application.questions()).toHaveLength(4)
    await using elsewhere = connectSession(bridge.publicUrl, { token: login('42'), extraHeaders: { 'X-Tenant': '7' } })
    expect(await join(elsewhere, 'order:7')).toBe('joined')
    expect(await application.questions()).toHaveLength(5)
  } finally {
    for (const session of sessions) session.socket.disconnect()
  }
})

test('with a cache of nothing each question is asked, and a failure is never kept', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/error', { AUTHORIZE_CACHE: '1h' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  for (let turn = 0; turn < 3; turn++) expect(await join(session, 'order:7')).toBe('unavailable')
  expect(await application.questions()).toHaveLength(3)
  await using other = await start(application, '/authorize', { AUTHORIZE_CACHE: '0s' })
  await using second = connectSession(other.publicUrl, { token: login('42') })
  for (let turn = 0; turn < 3; turn++) expect(await join(second, 'order:9')).toBe('room_forbidden')
  expect(await application.questions()).toHaveLength(6)
})

test('only headers on the list are handed on, and a browser cannot speak for the bridge', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize', {
    AUTHORIZE_FORWARD: 'cookie,x-tenant',
    ALLOWED_ORIGINS: 'https://shop.example.com',
  })
  await using session = connectSession(bridge.publicUrl, {
    token: login('42'),
    extraHeaders: {
      Origin: 'https://shop.example.com',
      Cookie: 'PHPSESSID=abc',
      'X-Tenant': '7',
      'X-Other': 'private',
      Authorization: 'Bearer somebody',
      'Webhook-Id': 'forged',
      'Content-Type': 'text/plain',
    },
  })
  expect(await join(session, 'order:7')).toBe('joined')
  const [question] = await application.questions()
  expect(Object.keys(question?.headers ?? {}).toSorted()).toEqual(
    [
      'accept',
      'accept-encoding',
      'connection',
      'content-length',
      'content-type',
      'cookie',
      'host',
      'user-agent',
      'webhook-id',
      'webhook-signature',
      'webhook-timestamp',
      'x-tenant',
    ].toSorted(),
  )
  expect(question?.headers).toMatchObject({
    cookie: 'PHPSESSID=abc',
    'x-tenant': '7',
    'content-type': 'application/json',
    host: new URL(application.url).host,
  })
})

test('what was asked, and how long it took, is counted', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  for (const room of ['order:7', 'order:9', 'order:9']) await join(session, room)
  await application.stop()
  await join(session, 'order:8')
  const text = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  expect(text).toContain('sidecast_backend_calls_total{call="rooms",outcome="allowed"} 1')
  expect(text).toContain('sidecast_backend_calls_total{call="rooms",outcome="denied"} 1')
  expect(text).toContain('sidecast_backend_calls_total{call="rooms",outcome="failed"} 1')
  expect(text).toContain('sidecast_backend_cached_total{call="rooms"} 1')
  expect(text).toContain('sidecast_backend_call_duration_seconds_count{call="rooms"} 3')
})
