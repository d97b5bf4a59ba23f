import { once } from 'node:events'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'

interface Asked {
  readonly authorization: string | undefined
  readonly form: URLSearchParams
}

/** An authorization server (RFC 7662) that knows these tokens. */
async function startAuthorizationServer(tokens: Readonly<Record<string, unknown>>, status = 200) {
  const asked: Asked[] = []
  const server = createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request))
    asked.push({ authorization: request.headers.authorization, form })
    const answer = tokens[form.get('token') ?? ''] ?? { active: false }
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${Object(server.address()).port}/introspect`,
    asked,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

function start({ url }: { readonly url: string }, settings: Readonly<Record<string, string>> = {}) {
  return startTestBridge({ INTROSPECTION_URL: url, INTROSPECTION_CLIENT_ID: 'side cast', INTROSPECTION_CLIENT_SECRET: 's%cret:7', ...settings })
}

const now = Math.floor(Date.now() / 1000)

test('an opaque token is what the authorization server says', async () => {
  await using server = await startAuthorizationServer({
    good: { active: true, sub: '42', exp: now + 600, iat: now - 5, jti: 'a', rooms: ['news', 'order:*'], scope: 'read' },
  })
  await using bridge = await start(server)
  await using session = connectSession(bridge.publicUrl, { token: 'good' })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: '42', rooms: ['user:42', 'news'], expiresAt: (now + 600) * 1000 })
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: true })
  const [asked] = server.asked
  expect(asked?.form.get('token')).toBe('good')
  // RFC 6749 2.3.1: form-encoded, then base64.
  expect(asked?.authorization).toBe(`Basic ${Buffer.from('side+cast:s%25cret%3A7').toString('base64')}`)
})

test('the claims of the user and of rooms are those that are configured', async () => {
  await using server = await startAuthorizationServer({ good: { active: true, username: 'ada', scope: 'read write' } })
  await using bridge = await start(server, { JWT_USER_CLAIM: 'username', JWT_ROOM_TEMPLATES: 'scope:{scope[ ]}' })
  await using session = connectSession(bridge.publicUrl, { token: 'good' })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({
    user: 'ada',
    rooms: ['user:ada', 'scope:read', 'scope:write'],
    expiresAt: null,
  })
})

test.each([
  ['is not active', { active: false }, 'token_signature'],
  ['has no user', { active: true, aud: 'shop' }, 'token_claims'],
  ['is over', { active: true, sub: '1', exp: now - 600 }, 'token_expired'],
  ['has a date in milliseconds', { active: true, sub: '1', exp: now * 1000 }, 'token_claims'],
  ['opens one room', { active: true, sub: '1', aud: 'sidecast:room' }, 'token_audience'],
  ['is for another audience', { active: true, sub: '1', aud: 'other' }, 'token_audience'],
])('a token that %s is refused', async (_name, answer, code) => {
  await using server = await startAuthorizationServer({ token: answer })
  await using bridge = await start(server, { JWT_AUDIENCE: 'shop' })
  await using session = connectSession(bridge.publicUrl, { token: 'token' })
  expect(await session.refused()).toMatchObject({ code })
})

test.each([
  ['no active', { sub: '1' }, 200],
  ['an active that is a text', { active: 'true', sub: '1' }, 200],
  ['a list', [{ active: true }], 200],
  ['401', { active: true, sub: '1' }, 401],
  ['500', { active: true, sub: '1' }, 500],
])('an authorization server that answers with %s lets nobody in, for now', async (_name, answer, status) => {
  await using server = await startAuthorizationServer({ token: answer }, status)
  await using bridge = await start(server)
  await using session = connectSession(bridge.publicUrl, { token: 'token' })
  expect(await session.refused()).toMatchObject({ code: 'unavailable', retry: true })
})

test('a token is asked about once for a while; a JWT is for the keys', async () => {
  await using server = await startAuthorizationServer({ good: { active: true, sub: '42' } })
  await using bridge = await start(server)
  await using signed = connectSession(bridge.publicUrl, { token: login('1') })
  await signed.notice('sidecast:ready')
  for (let turn = 0; turn < 3; turn++) {
    await using session = connectSession(bridge.publicUrl, { token: 'good' })
    await session.notice('sidecast:ready')
  }
  expect(server.asked).toHaveLength(1)
})
