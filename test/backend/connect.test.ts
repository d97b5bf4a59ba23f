import { randomBytes } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { authorizeSecret, type PhpApplication, startPhpApplication } from './php-application.ts'

const origin = 'https://shop.example.com'

function start(application: Pick<PhpApplication, 'url'>, path: string, settings: Readonly<Record<string, string>> = {}) {
  return startTestBridge({
    AUTHORIZE_CONNECT_URL: `${application.url}${path}`,
    AUTHORIZE_SECRET: authorizeSecret,
    AUTHORIZE_FORWARD: 'cookie',
    ALLOWED_ORIGINS: origin,
    ...settings,
  })
}

const says = (answer: unknown, status = 200): string => `/says?status=${status}&json=${encodeURIComponent(JSON.stringify(answer))}`

const fromPage = (cookie: string) => ({ extraHeaders: { Origin: origin, Cookie: cookie } })

test('who is logged in with a PHP session is logged in, with the rooms that the application names', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  await using session = connectSession(bridge.publicUrl, fromPage(await application.login('42')))
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: '42', rooms: ['user:42', 'news'], expiresAt: null })
  expect(await session.request('sidecast:join', { room: 'team:7' })).toEqual({ ok: true, room: 'team:7' })
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: false, error: { code: 'room_forbidden' } })
  await bridge.publish({ event: 'hello', data: { a: 1 }, to: { users: ['42'] } })
  expect((await session.event()).data).toEqual({ a: 1 })
  const [question] = await application.questions()
  expect(JSON.parse(question?.body ?? '')).toEqual({ address: '127.0.0.1' })
})

test('a session resumes with its cookie after a cut', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  await using session = connectSession(bridge.publicUrl, fromPage(await application.login('42')))
  await session.notice('sidecast:ready')
  session.cut()
  await session.closed()
  await bridge.publish({ event: 'missed', to: { users: ['42'] } })
  expect((await session.event()).event).toBe('missed')
  expect((await session.notice('sidecast:ready', 2)).data).toMatchObject({ user: '42', recovered: true })
})

test('a cookie that the application does not know is no login, and without a cookie it is not even asked', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  await using stranger = connectSession(bridge.publicUrl, fromPage('PHPSESSID=0123456789abcdef0123456789abcdef'))
  expect(await stranger.refused()).toMatchObject({ code: 'token_missing', retry: false })
  expect(await application.questions()).toHaveLength(1)
  await using nobody = connectSession(bridge.publicUrl, { extraHeaders: { Origin: origin } })
  expect(await nobody.refused()).toMatchObject({ code: 'token_missing', retry: false })
  expect(await application.questions()).toHaveLength(1)
})

test('the cookie of a visitor does not log in a page of somebody else', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  const cookie = await application.login('42')
  const response = await fetch(`${bridge.publicUrl}/socket.io/?EIO=4&transport=polling`, {
    headers: { Origin: 'https://evil.example.com', Cookie: cookie },
  })
  expect(response.status).toBe(403)
  // Without an Origin nothing says which page it is.
  await using unknown = connectSession(bridge.publicUrl, { extraHeaders: { Cookie: cookie } })
  expect(await unknown.refused()).toMatchObject({ code: 'token_missing' })
  expect(await application.questions()).toEqual([])
})

test('what looks like a JWT is for the keys alone; any other token is for the application', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, says({ user: 7, rooms: ['news'], jti: 'a', expiresAt: '2100-01-01T00:00:00Z' }))
  await using signed = connectSession(bridge.publicUrl, { token: login('42') })
  expect((await signed.notice('sidecast:ready')).data).toMatchObject({ user: '42' })
  const forged = jwt.sign({ sub: '42', exp: 4_000_000_000 }, randomBytes(48))
  await using forger = connectSession(bridge.publicUrl, { token: forged, ...fromPage('PHPSESSID=x') })
  expect(await forger.refused()).toMatchObject({ code: 'token_signature' })
  expect(await application.questions()).toEqual([])
  await using opaque = connectSession(bridge.publicUrl, { token: '1|opaque' })
  expect((await opaque.notice('sidecast:ready')).data).toMatchObject({ user: '7', rooms: ['user:7', 'news'], expiresAt: Date.parse('2100-01-01') })
  const [question] = await application.questions()
  expect(JSON.parse(question?.body ?? '')).toEqual({ token: '1|opaque', address: '127.0.0.1' })
})

test('a bridge without keys for JWTs hands every token to the application', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize', { JWT_SECRET: '' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  expect(await session.refused()).toMatchObject({ code: 'token_signature', retry: false })
  await using other = connectSession(bridge.publicUrl, fromPage(await application.login('43')))
  expect((await other.notice('sidecast:ready')).data).toMatchObject({ user: '43' })
})

test.each([
  ['a redirect', '/redirect'],
  ['HTML', '/html'],
  ['ten megabytes', '/large'],
  ['an exception', '/error'],
  ['404', '/nothing-here'],
  ['nobody', says({})],
  ['a user that is none', says({ user: { id: 1 } })],
  ['a number that has lost digits', says({ user: 2 ** 53 })],
  ['rooms that are no list', says({ user: '1', rooms: 'news' })],
  ['a pattern that is none', says({ user: '1', rooms: ['ord*'] })],
  ['an end that is none', says({ user: '1', expiresAt: 'tomorrow' })],
  ['a user with 201', says({ user: '1' }, 201)],
])('an application that answers with %s lets nobody in, for now', async (_name, path) => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, path)
  await using session = connectSession(bridge.publicUrl, { token: 'opaque' })
  expect(await session.refused()).toEqual({ code: 'unavailable', message: 'The service is not available at the moment.', retry: true })
})

test('a login that the application says is over is expired', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, says({ user: '1', expiresAt: 1_000_000_000 }))
  await using session = connectSession(bridge.publicUrl, { token: 'opaque' })
  expect(await session.refused()).toMatchObject({ code: 'token_expired', retry: true })
})

test('clients that all come back at once are one question for each login', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  const cookies = [await application.login('42'), await application.login('43')]
  const sessions = cookies.flatMap((cookie) => Array.from({ length: 20 }, () => connectSession(bridge.publicUrl, fromPage(cookie))))
  try {
    for (const session of sessions) await session.notice('sidecast:ready')
    expect(await application.questions()).toHaveLength(2)
  } finally {
    for (const session of sessions) session.socket.disconnect()
  }
})

test('a session goes on with another opaque token, and ends when that does', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, says({ user: '1', expiresAt: Math.floor(Date.now() / 1000) + 3600 }))
  await using session = connectSession(bridge.publicUrl, { token: 'first' })
  await session.notice('sidecast:ready')
  expect(await session.request('sidecast:refresh', { token: 'second' })).toMatchObject({ ok: true })
  expect((await application.questions()).map(({ body }) => JSON.parse(body).token)).toEqual(['first', 'second'])
})

test('revoking a user ends sessions without a token as well', async () => {
  await using application = await startPhpApplication()
  await using bridge = await start(application, '/authorize')
  await using session = connectSession(bridge.publicUrl, fromPage(await application.login('42')))
  await session.notice('sidecast:ready')
  expect((await bridge.call('POST', '/v1/revocations', { user: '42' })).status).toBe(202)
  expect((await session.notice('sidecast:disconnect')).data).toMatchObject({ code: 'token_revoked' })
})

test('a login is as old as the application says for revocations, and never from the future', async () => {
  await using application = await startPhpApplication()
  const before = Math.floor(Date.now() / 1000) - 600
  for (const [issuedAt, outcome] of [
    [before - 60, 'refused'],
    [before + 60, 'in'],
    [4_000_000_000, 'in'],
    [undefined, 'in'],
  ] as const) {
    await using bridge = await start(application, says({ user: '42', issuedAt }), { AUTHORIZE_CACHE: '0s' })
    expect((await bridge.call('POST', '/v1/revocations', { user: '42', issuedBefore: before * 1000 })).status).toBe(202)
    await using session = connectSession(bridge.publicUrl, { token: 'opaque' })
    if (outcome === 'refused') expect(await session.refused()).toMatchObject({ code: 'token_revoked', retry: false })
    else expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: '42' })
    // What is revoked from a moment on that is past for every login.
    const end = await bridge.call('POST', '/v1/revocations', { user: '42', issuedBefore: Date.now() + 1 })
    expect(end.status).toBe(202)
    if (outcome === 'in') expect((await session.notice('sidecast:disconnect')).data).toMatchObject({ code: 'token_revoked' })
  }
})

test('rooms that the application names now are open again after a removal, but not by an answer from before it', async () => {
  await using application = await startPhpApplication()
  for (const [cache, rooms] of [
    ['1h', ['user:42']],
    ['0s', ['news', 'user:42']],
  ] as const) {
    await using bridge = await start(application, says({ user: '42', rooms: ['news'], issuedAt: 1_700_000_000 }), { AUTHORIZE_CACHE: cache })
    await using first = connectSession(bridge.publicUrl, { token: 'opaque' })
    expect((await first.notice('sidecast:ready')).data).toMatchObject({ rooms: ['user:42', 'news'] })
    await bridge.call('DELETE', '/v1/rooms/news/users/42')
    expect((await first.notice('sidecast:left')).data).toMatchObject({ room: 'news', by: 'backend' })
    await using second = connectSession(bridge.publicUrl, { token: 'opaque' })
    const { rooms: joined } = (await second.notice('sidecast:ready')).data as { readonly rooms: readonly string[] }
    expect(joined.toSorted()).toEqual(rooms)
  }
})
