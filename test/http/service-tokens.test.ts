import { generateKeyPairSync, randomBytes } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import { apiKey, login, secret, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'

const serviceSecret = randomBytes(48).toString('base64url')
const audience = 'https://push.example.com'
const settings = { SERVICE_JWT_SECRET: serviceSecret, SERVICE_JWT_ISSUER: 'https://id.example.com', SERVICE_JWT_AUDIENCE: audience }

/** A token as an authorization server gives it to a service. */
function serviceToken(claims: Readonly<Record<string, unknown>> = {}, key = serviceSecret): string {
  const exp = Math.floor(Date.now() / 1000) + 300
  const all = { iss: 'https://id.example.com', aud: audience, sub: 'billing', scope: 'openid publish', exp, ...claims }
  return jwt.sign(Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)), key)
}

const event = { event: 'a', to: { users: ['42'] } }
const publishAs = (bridge: TestBridge, token: string) => bridge.call('POST', '/v1/events', event, { authorization: `Bearer ${token}` })

test('a service publishes with its token, as far as the scopes in it go', async () => {
  await using bridge = await startTestBridge(settings)
  expect((await publishAs(bridge, serviceToken())).status).toBe(202)
  expect((await publishAs(bridge, serviceToken({ scope: ['publish', 'unknown'] }))).status).toBe(202)
  expect((await publishAs(bridge, serviceToken({ aud: ['other', audience], sub: undefined, client_id: 'billing' }))).status).toBe(202)
  for (const scope of ['read admin', 'PUBLISH', 'publisher', '', undefined, { publish: true }, 7])
    expect((await publishAs(bridge, serviceToken({ scope }))).body).toMatchObject({
      code: 'scope_missing',
      detail: 'billing lacks the scope publish',
    })
  // The key stays good beside it.
  expect((await bridge.call('GET', '/v1/users/42')).status).toBe(200)
})

test('the claim that holds the scopes can be another', async () => {
  await using bridge = await startTestBridge({ ...settings, SERVICE_JWT_SCOPE_CLAIM: 'realm_access.roles' })
  expect((await publishAs(bridge, serviceToken({ scope: undefined, realm_access: { roles: ['publish'] } }))).status).toBe(202)
  expect((await publishAs(bridge, serviceToken())).body.code).toBe('scope_missing')
})

test('a service token that is not good is refused, and the answer says why without repeating it', async () => {
  await using bridge = await startTestBridge(settings)
  const now = Math.floor(Date.now() / 1000)
  const cases: readonly (readonly [string, string])[] = [
    [serviceToken({ exp: now - 3600 }), 'has expired'],
    [serviceToken({ nbf: now + 3600 }), 'not valid yet'],
    [serviceToken({ exp: undefined }), 'lacks a claim'],
    [serviceToken({ sub: undefined }), 'lacks a claim'],
    [serviceToken({ iss: 'https://evil.example' }), 'another issuer'],
    [serviceToken({ aud: undefined }), 'SERVICE_JWT_AUDIENCE'],
    [serviceToken({ aud: 'other' }), 'SERVICE_JWT_AUDIENCE'],
    [serviceToken({ aud: [audience, 'sidecast:room'] }), 'SERVICE_JWT_AUDIENCE'],
    [serviceToken({}, randomBytes(48).toString('base64url')), 'not signed'],
    [`${serviceToken().split('.').slice(0, 2).join('.')}.`, 'not signed'],
  ]
  for (const [token, detail] of cases) {
    const { status, body } = await publishAs(bridge, token)
    expect([detail, status, body]).toMatchObject([detail, 401, { code: 'service_token_invalid', detail: expect.stringContaining(detail) }])
    expect(JSON.stringify(body)).not.toContain(token)
  }
  const { body } = await bridge.call('POST', '/v1/events', event, { authorization: '', 'x-api-key': serviceToken() })
  expect(body.code).toBe('api_key_invalid')
})

test('a login token never passes as a service token, even when one key signs both', async () => {
  await using bridge = await startTestBridge({ ...settings, SERVICE_JWT_SECRET: secret, JWT_AUDIENCE: 'app' })
  expect((await publishAs(bridge, serviceToken({}, secret))).status).toBe(202)
  const claims = { scope: 'publish read admin', iss: 'https://id.example.com' }
  for (const token of [
    login('42'),
    login('42', { ...claims, aud: 'app' }),
    login('42', claims),
    login('42', { ...claims, aud: 'sidecast:room', room: 'a' }),
  ])
    expect((await publishAs(bridge, token)).body).toMatchObject({ code: 'service_token_invalid' })
})

test('a service token never opens a session, even when one key signs both; nor does an API key, or a secret to sign with', async () => {
  const signing = `whsec_${randomBytes(32).toString('base64')}`
  await using bridge = await startTestBridge({ ...settings, SERVICE_JWT_SECRET: secret, JWT_AUDIENCE: 'app', SIGNING_KEYS: `shop:${signing}` })
  const code = async (token: string) => {
    await using session = connectSession(bridge.publicUrl, { token, reconnection: false })
    return (await session.refused()).code
  }
  expect(await code(serviceToken({}, secret))).toBe('token_audience')
  expect(await code(serviceToken({ aud: ['app', audience] }, secret))).toBe('token_audience')
  expect(await code(serviceToken({ aud: ['app', audience], iss: undefined, scope: undefined, rooms: ['a'] }, secret))).toBe('token_audience')
  expect(await code(apiKey)).toBe('token_malformed')
  expect(await code(signing)).toBe('token_malformed')
})

test('a login token that is for services too opens no session', async () => {
  await using bridge = await startTestBridge(settings)
  await using session = connectSession(bridge.publicUrl, { token: login('42', { aud: audience }), reconnection: false })
  expect(await session.refused()).toMatchObject({ code: 'token_audience' })
})

test('without service tokens in the configuration a token is what browsers have', async () => {
  await using bridge = await startTestBridge()
  const { body } = await publishAs(bridge, serviceToken())
  expect(body).toMatchObject({ code: 'api_key_invalid', detail: expect.stringContaining('looks like a login token') })
})

test('the tokens of services may be signed with a private key of their own', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  await using bridge = await startTestBridge({ SERVICE_JWT_PUBLIC_KEY: pem, SERVICE_JWT_AUDIENCE: audience })
  const claims = { aud: audience, sub: 'billing', scope: 'publish', exp: Math.floor(Date.now() / 1000) + 300 }
  expect((await publishAs(bridge, jwt.sign(claims, privateKey, { algorithm: 'ES256' }))).status).toBe(202)
  // The public key is no secret, so it must not be one.
  const forged = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  expect((await publishAs(bridge, `${forged}.${Buffer.alloc(32).toString('base64url')}`)).body.code).toBe('service_token_invalid')
})
