import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import { newFolder } from '../log/folders.ts'
import { callIngress, login, secret, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { stopClock } from '../support/clock.ts'

const revoked = { code: 'token_revoked', message: 'The login token has been revoked.', retry: false }
const seconds = (): number => Math.floor(Date.now() / 1000)

/** A login of some time ago. */
const old = (user: string, claims: Readonly<Record<string, unknown>> = {}): string => login(user, { iat: seconds() - 60, ...claims })
/** One of just after what was revoked until now, by a clock that is a little ahead. */
const fresh = (user: string, claims: Readonly<Record<string, unknown>> = {}): string => login(user, { iat: seconds() + 3, ...claims })

async function connected({ publicUrl }: { readonly publicUrl: string }, token: string | (() => string)): Promise<TestSession> {
  const session = connectSession(publicUrl, { token })
  await session.notice('sidecast:ready')
  return session
}

async function revoke(bridge: TestBridge, request: Readonly<Record<string, unknown>>) {
  const { status, body } = await bridge.call('POST', '/v1/revocations', request)
  expect(status).toBe(202)
  return body as { readonly id: string; readonly offset: string; readonly sessions: number }
}

async function expectRevoked(session: TestSession, offset: string): Promise<void> {
  const { data, offset: last } = await session.notice('sidecast:disconnect')
  expect(data).toEqual(revoked)
  // With the offset that the client has: what it did not get it must not skip.
  expect(last).not.toBe(offset)
  // The one reason after which a stock client stays away.
  expect(await session.closed()).toBe('io server disconnect')
  expect(session.socket.active).toBe(false)
}

async function expectRefused(bridge: { readonly publicUrl: string }, token: string): Promise<void> {
  await using session = connectSession(bridge.publicUrl, { token })
  expect(await session.refused()).toEqual(revoked)
}

test('all logins of a user are revoked: told, cut, refused from then on, until the user logs in again; others notice nothing', async () => {
  await using bridge = await startTestBridge()
  const token = old('7')
  await using first = await connected(bridge, token)
  await using second = await connected(bridge, old('7', { jti: 'another' }))
  await using other = await connected(bridge, old('8'))
  const now = seconds()
  const { offset, sessions } = await revoke(bridge, { user: 7 })
  expect(sessions).toBe(2)
  for (const session of [first, second]) await expectRevoked(session, offset)
  // By the page's own hand too.
  first.socket.connect()
  expect(await first.refused()).toEqual(revoked)
  await expectRefused(bridge, login('7', { iat: now }))
  await using again = await connected(bridge, fresh('7'))
  expect(await bridge.publish({ event: 'a', to: { users: [7, 8] } })).toMatchObject({ matched: 2 })
  for (const session of [again, other]) expect((await session.event()).event).toBe('a')
  for (const session of [first, second]) expect(session.received).toEqual([])
  expect(other.notices).toHaveLength(1)
})

test('one token, or one login with all tokens that come from it; other tokens and logins of the user stay', async () => {
  await using bridge = await startTestBridge()
  const tokens = { a1: old('7', { jti: 'a1', sid: 'a' }), a2: old('7', { jti: 'a2', sid: 'a' }), b1: old('7', { jti: 'b1', sid: 'b' }) }
  await using a1 = await connected(bridge, tokens.a1)
  await using a2 = await connected(bridge, tokens.a2)
  await using b1 = await connected(bridge, tokens.b1)
  await using stranger = await connected(bridge, old('8', { jti: 'c', sid: 'a' }))
  await expectRevoked(a1, (await revoke(bridge, { jti: 'a1' })).offset)
  await bridge.publish({ event: 'one', to: { all: true } })
  for (const session of [a2, b1, stranger]) expect((await session.event()).event).toBe('one')
  await expectRevoked(a2, (await revoke(bridge, { user: 7, sid: 'a' })).offset)
  await bridge.publish({ event: 'two', to: { all: true } })
  for (const session of [b1, stranger]) expect((await session.event(2)).event).toBe('two')
  expect(a1.received).toEqual([])
  expect(a2.received.map(({ event }) => event)).toEqual(['one'])
  // A new token of the same login is of the same login.
  for (const token of [tokens.a1, tokens.a2, fresh('7', { jti: 'a3', sid: 'a' })]) await expectRefused(bridge, token)
  await using again = await connected(bridge, fresh('7', { jti: 'd', sid: 'd' }))
  expect(again.notices).toHaveLength(1)
})

test('everybody who logged in before a moment, and whose token does not say when', async () => {
  await using bridge = await startTestBridge()
  const timeless = jwt.sign({ sub: '9', exp: seconds() + 600 }, secret, { noTimestamp: true })
  await using seven = await connected(bridge, old('7'))
  await using nine = await connected(bridge, timeless)
  await using recent = await connected(bridge, login('8'))
  expect(await revoke(bridge, { issuedBefore: seconds() - 30 })).toMatchObject({ sessions: 2 })
  for (const session of [seven, nine]) expect((await session.notice('sidecast:disconnect')).data).toEqual(revoked)
  await expectRefused(bridge, timeless)
  await bridge.publish({ event: 'a', to: { all: true } })
  await recent.event()
})

test('a revocation that is lifted lets the token in again', async () => {
  await using bridge = await startTestBridge()
  const token = old('7', { jti: 'a' })
  const { id } = await revoke(bridge, { jti: 'a' })
  await expectRefused(bridge, token)
  expect((await bridge.call('DELETE', `/v1/revocations/${id}`)).status).toBe(202)
  await using back = await connected(bridge, token)
  expect(back.notices).toHaveLength(1)
})

test('who was away when its token was revoked gets nothing of what was missed; a new login goes on where it was', async () => {
  await using bridge = await startTestBridge()
  let token = old('7', { jti: 'a' })
  await using session = await connected(bridge, () => token)
  await bridge.publish({ event: 'before', to: { users: [7] } })
  await session.event()
  session.socket.io.reconnection(false)
  session.cut()
  await session.closed()
  await revoke(bridge, { jti: 'a' })
  await bridge.publish({ event: 'secret', to: { users: [7] } })
  session.socket.connect()
  expect(await session.refused()).toEqual(revoked)
  expect(session.received).toHaveLength(1)
  token = fresh('7', { jti: 'b' })
  session.socket.connect()
  expect((await session.notice('sidecast:ready', 2)).data).toMatchObject({ recovered: true })
  expect(session.received.map(({ event }) => event)).toEqual(['before', 'secret'])
})

test('a revocation until its token expires holds for as long as the token is taken, also against a resume', async () => {
  using clock = stopClock()
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '30s' })
  const exp = seconds() + 60
  await using session = await connected(bridge, old('7', { jti: 'a', exp }))
  await bridge.publish({ event: 'before', to: { users: [7] } })
  await session.event()
  session.socket.io.reconnection(false)
  session.cut()
  await session.closed()
  const { body } = await bridge.call('POST', '/v1/revocations', { jti: 'a', expiresAt: exp })
  expect(body.expiresAt).toBe((exp + 30) * 1000)
  await bridge.publish({ event: 'secret', to: { users: [7] } })
  clock.pass((exp + 29) * 1000 - Date.now())
  // A clock that differs: for who revokes the token is over, and here it is not.
  expect((await bridge.call('POST', '/v1/revocations', { jti: 'b', expiresAt: exp })).status).toBe(202)
  session.socket.connect()
  expect(await session.refused()).toEqual(revoked)
  clock.pass(1000)
  session.socket.connect()
  expect(await session.refused()).toMatchObject({ code: 'token_expired' })
  expect((await bridge.call('POST', '/v1/revocations', { jti: 'b', expiresAt: exp })).status).toBe(422)
  expect(session.received.map(({ event }) => event)).toEqual(['before'])
})

test('a session cannot be refreshed with a token that is revoked, and goes on with the one that it has', async () => {
  await using bridge = await startTestBridge()
  await using session = await connected(bridge, old('7', { jti: 'good' }))
  await revoke(bridge, { jti: 'bad' })
  const answer = await session.request('sidecast:refresh', { token: old('7', { jti: 'bad' }) })
  expect(answer).toMatchObject({ ok: false, error: { code: 'token_revoked' } })
  // Once it has gone on with another one, its first token is another's business.
  expect(await session.request('sidecast:refresh', { token: old('7', { jti: 'better' }) })).toMatchObject({ ok: true })
  expect(await revoke(bridge, { jti: 'good' })).toMatchObject({ sessions: 0 })
  expect(await revoke(bridge, { jti: 'better' })).toMatchObject({ sessions: 1 })
  expect((await session.notice('sidecast:disconnect')).data).toEqual(revoked)
})

test('a client that polls is told and stays away too', async () => {
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: old('7'), transports: ['polling'] })
  await session.notice('sidecast:ready')
  await expectRevoked(session, (await revoke(bridge, { user: '7' })).offset)
})

test('tokens that are good are let in or cut while theirs are revoked, and none stays', async () => {
  await using bridge = await startTestBridge()
  const count = 40
  const tokens = Array.from({ length: count }, (_, index) => old(`u${index}`, { jti: `t${index}` }))
  const sessions = tokens.map((token) => connectSession(bridge.publicUrl, { token, reconnection: false }))
  // While they are on their way.
  await Promise.all(tokens.map((_, index) => revoke(bridge, { jti: `t${index}` })))
  await bridge.publish({ event: 'secret', to: { all: true } })
  await Promise.all(sessions.map((session) => Promise.race([session.refused(), session.notice('sidecast:disconnect')])))
  expect(sessions.flatMap(({ received }) => received)).toEqual([])
  for (let index = 0; index < count; index++) expect((await bridge.call('GET', `/v1/users/u${index}`)).body.online).toBe(false)
  for (const session of sessions) session.socket.disconnect()
})

test('what is revoked stays so when the bridge is killed', async () => {
  const directory = newFolder()
  const token = old('7', { jti: 'a' })
  const now = seconds()
  {
    await using bridge = new BridgeProcess({}, { directory })
    const { publicUrl, privateUrl } = await bridge.ready()
    await using session = await connected({ publicUrl }, token)
    for (const body of [{ jti: 'a' }, { jti: 'b' }, { user: '8' }])
      expect((await callIngress(privateUrl, 'POST', '/v1/revocations', body)).status).toBe(202)
    const { body } = await callIngress(privateUrl, 'GET', '/v1/revocations')
    const [, lifted] = body.revocations as readonly { readonly id: string }[]
    expect((await callIngress(privateUrl, 'DELETE', `/v1/revocations/${lifted?.id}`)).status).toBe(202)
    await bridge.kill()
    await session.closed()
  }
  await using bridge = new BridgeProcess({}, { directory })
  const addresses = await bridge.ready()
  for (const refused of [token, old('8'), login('8', { iat: now })]) await expectRefused(addresses, refused)
  await using lifted = await connected(addresses, old('7', { jti: 'b' }))
  await using fresher = await connected(addresses, fresh('8'))
  expect([lifted.notices, fresher.notices].map(({ length }) => length)).toEqual([1, 1])
  expect((await callIngress(addresses.privateUrl, 'GET', '/v1/revocations')).body.revocations).toHaveLength(2)
})

test('the metrics count revocations and the sessions that they have ended', async () => {
  await using bridge = await startTestBridge()
  await using session = await connected(bridge, old('7'))
  const { id } = await revoke(bridge, { user: 7 })
  await revoke(bridge, { jti: 'a' })
  await session.notice('sidecast:disconnect')
  await expectRefused(bridge, old('7'))
  await bridge.call('DELETE', `/v1/revocations/${id}`)
  const metrics = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  expect(metrics).toContain('sidecast_revocations_total 2\n')
  expect(metrics).toContain('sidecast_revocations 1\n')
  expect(metrics).toContain('sidecast_sessions_closed_total{end="revoked"} 1\n')
  expect(metrics).toContain('sidecast_handshakes_refused_total{code="token_revoked"} 1\n')
})
