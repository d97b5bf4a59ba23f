import { expect, test } from 'vitest'
import { startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { createKey, json, startIssuer, type TestKey } from './test-issuer.ts'

const first = createKey('first')
const second = createKey('second')
const login = (key: TestKey, claims: object = {}): string => key.sign({ exp: Math.floor(Date.now() / 1000) + 3600, ...claims })

test('a bridge starts while its issuer is down, is not ready, tells browsers to try again, and lets them in when it is up', async () => {
  await using issuer = await startIssuer()
  issuer.answer = (_, response) => void response.writeHead(503).end()
  await using bridge = await startTestBridge({ JWT_SECRET: '', JWT_JWKS_URL: `${issuer.url}/jwks` })
  await issuer.asked(1)
  await using session = connectSession(bridge.publicUrl, { token: () => login(first), reconnection: false })
  expect(await session.refused()).toEqual({ code: 'unavailable', message: 'The service is not available at the moment.', retry: true })
  const readiness = await bridge.call('GET', '/readyz')
  expect(readiness.status).toBe(503)
  expect(JSON.stringify(readiness.body)).toContain('keys:login')

  const asked = issuer.requests.length
  issuer.publish(first)
  await issuer.asked(asked + 1)
  await using later = connectSession(bridge.publicUrl, { token: () => login(first) })
  expect((await later.notice('sidecast:ready')).data).toMatchObject({ user: '42' })
  expect((await bridge.call('GET', '/readyz')).status).toBe(200)
})

test('sessions go on when their issuer discovers, rotates and opens rooms', async () => {
  await using issuer = await startIssuer()
  issuer.answer = (...call) =>
    json(call[0].url === '/certs' ? { keys: [first.jwk, second.jwk] } : { issuer: issuer.url, jwks_uri: `${issuer.url}/certs` })(...call)
  await using bridge = await startTestBridge({ JWT_SECRET: '', JWT_OIDC_ISSUER: issuer.url, JWT_AUDIENCE: 'push' })
  for (const key of [first, second]) {
    await using session = connectSession(bridge.publicUrl, { token: login(key, { iss: issuer.url, aud: 'push' }) })
    await session.notice('sidecast:ready')
    const token = login(key, { iss: issuer.url, aud: 'sidecast:room', room: 'order:7' })
    expect(await session.request('sidecast:join', { room: 'order:7', token })).toMatchObject({ ok: true, room: 'order:7' })
    expect(await session.request('sidecast:join', { room: 'order:8', token })).toMatchObject({ ok: false })
    const asLogin = login(key, { iss: issuer.url, aud: 'push', room: 'order:8' })
    expect(await session.request('sidecast:join', { room: 'order:8', token: asLogin })).toMatchObject({
      ok: false,
      error: { code: 'token_audience' },
    })
  }
  await using foreign = connectSession(bridge.publicUrl, { token: login(first, { iss: `${issuer.url}/`, aud: 'push' }), reconnection: false })
  expect(await foreign.refused()).toMatchObject({ code: 'token_issuer', retry: false })
  await using opener = connectSession(bridge.publicUrl, {
    token: login(first, { iss: issuer.url, aud: ['push', 'sidecast:room'] }),
    reconnection: false,
  })
  expect(await opener.refused()).toMatchObject({ code: 'token_audience', retry: false })
})
