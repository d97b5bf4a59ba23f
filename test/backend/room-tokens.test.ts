import { randomBytes } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import { login, secret, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { authorizeSecret, startPhpApplication } from './php-application.ts'

const now = (): number => Math.floor(Date.now() / 1000)

function roomToken(claims: Readonly<Record<string, unknown>>, key: string | Buffer = secret): string {
  return jwt.sign({ aud: 'sidecast:room', sub: '43', room: 'order:7', exp: now() + 60, ...claims }, key)
}

test('a room token that is shown decides alone, and the application is not asked', async () => {
  await using application = await startPhpApplication()
  await using bridge = await startTestBridge({ AUTHORIZE_ROOMS_URL: `${application.url}/authorize`, AUTHORIZE_SECRET: authorizeSecret })
  // The application would say no to user 43 and order 7, and yes to order 9.
  await using session = connectSession(bridge.publicUrl, { token: login('43') })
  await session.notice('sidecast:ready')
  const join = async (room: string, token?: string) => {
    const { ok, error } = await session.request('sidecast:join', { room, token })
    return ok ? 'joined' : error?.code
  }
  expect(await join('order:9', roomToken({ sub: '42', room: 'order:9' }))).toBe('room_forbidden')
  expect(await join('order:9', roomToken({}))).toBe('room_forbidden')
  expect(await join('order:9', roomToken({ room: 'order:9' }, randomBytes(48)))).toBe('token_signature')
  expect(await join('order:9', roomToken({ room: 'order:9', exp: now() - 600 }))).toBe('token_expired')
  expect(await join('order:9', login('43', { room: 'order:9' }))).toBe('token_audience')
  expect(await join('order:9', 'nonsense')).toBe('token_malformed')
  expect(await application.questions()).toEqual([])
  expect(await join('order:7', roomToken({}))).toBe('joined')
  expect(await application.questions()).toEqual([])
  expect(await join('order:9')).toBe('joined')
  expect(await application.questions()).toHaveLength(1)
})

test('a bridge without keys takes no room tokens', async () => {
  await using application = await startPhpApplication()
  await using bridge = await startTestBridge({
    JWT_SECRET: '',
    AUTHORIZE_CONNECT_URL: `${application.url}/says?json=${encodeURIComponent('{"user":"43"}')}`,
    AUTHORIZE_SECRET: authorizeSecret,
  })
  await using session = connectSession(bridge.publicUrl, { token: 'opaque' })
  expect(await session.request('sidecast:join', { room: 'order:7', token: roomToken({}) })).toMatchObject({ error: { code: 'token_signature' } })
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ error: { code: 'room_forbidden' } })
})

test('a yes from before the user was taken out of the room does not open it again; a new one does', async () => {
  await using application = await startPhpApplication()
  const settings = { AUTHORIZE_ROOMS_URL: `${application.url}/authorize`, AUTHORIZE_SECRET: authorizeSecret }
  for (const [cache, outcome] of [
    ['1h', { ok: false, error: { code: 'room_forbidden' } }],
    ['0s', { ok: true }],
  ] as const) {
    await using bridge = await startTestBridge({ ...settings, AUTHORIZE_CACHE: cache })
    await using session = connectSession(bridge.publicUrl, { token: login('42') })
    expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: true })
    await bridge.call('DELETE', '/v1/rooms/order:7/users/42')
    await session.notice('sidecast:left')
    expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject(outcome)
  }
})
