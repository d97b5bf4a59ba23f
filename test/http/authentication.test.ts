import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import type { OpenapiDocument } from '../../src/http/openapi-document.ts'
import { fullKey, keyOf, openapi, startIngress } from './start-ingress.ts'

const event = { event: 'a', to: { all: true } }

test('every operation of openapi.yaml that asks for a key refuses a call without one, and says how to come back', async () => {
  await using ingress = await startIngress()
  for (const [path, item] of Object.entries((openapi as OpenapiDocument).paths)) {
    for (const method of ['get', 'head', 'put', 'post', 'delete'] as const) {
      const operation = item[method]
      if (operation === undefined || operation.security?.length === 0 || path === '/metrics') continue
      const response = await fetch(`${ingress.url}${path.replaceAll(/\{\w+\}/g, 'x')}`, { method: method.toUpperCase() })
      expect([method, path, response.status]).toEqual([method, path, 401])
      expect(response.headers.get('www-authenticate')).toBe('Bearer realm="sidecast"')
      if (method !== 'head') expect(await response.json()).toMatchObject({ code: 'api_key_missing', type: 'urn:sidecast:error:api_key_missing' })
    }
  }
})

test('the key may come as a bearer token or as X-API-Key', async () => {
  await using ingress = await startIngress()
  for (const headers of [{ authorization: `Bearer ${fullKey}` }, { authorization: `bearer ${fullKey}` }, { 'x-api-key': fullKey }]) {
    expect((await fetch(`${ingress.url}/v1/users/7`, { headers: headers as Record<string, string> })).status).toBe(200)
  }
  expect((await ingress.call('GET', '/v1/users/7', { headers: { 'x-api-key': fullKey } })).status).toBe(200)
})

test('two different credentials in one request are refused, even when one of them is good', async () => {
  await using ingress = await startIngress()
  for (const headers of [
    { authorization: `Bearer ${fullKey}`, 'x-api-key': keyOf('read') },
    { authorization: 'Basic dXNlcjpwYXNz', 'x-api-key': fullKey },
    { authorization: '', 'x-api-key': fullKey },
  ]) {
    const { status, json } = await ingress.call('GET', '/v1/users/7', { headers })
    expect({ status, code: json.code }).toEqual({ status: 401, code: 'api_key_invalid' })
  }
})

test('a key that is not known is refused, and the answer does not repeat it', async () => {
  await using ingress = await startIngress()
  for (const key of ['wrong', `${fullKey}x`, fullKey.slice(1), `${fullKey} ${fullKey}`, `${fullKey},${fullKey}`]) {
    const { status, headers, text } = await ingress.call('GET', '/v1/users/7', { headers: { authorization: `Bearer ${key}` } })
    expect(status).toBe(401)
    expect(headers.get('www-authenticate')).toContain('error="invalid_token"')
    expect(text).not.toContain(key)
  }
})

test('what is wrong with the form of a credential is told, and the credential is not repeated', async () => {
  await using ingress = await startIngress()
  const token = jwt.sign({ sub: '42' }, fullKey)
  const basic = Buffer.from(`shop:${fullKey}`).toString('base64')
  const cases: readonly (readonly [headers: Readonly<Record<string, string>>, detail: string, secret: string])[] = [
    [{ authorization: `Basic ${basic}` }, '(Basic) are not taken', basic],
    [{ authorization: fullKey }, 'does not begin with the word Bearer', fullKey],
    [{ authorization: 'Bearer ' }, 'No key follows', fullKey],
    [{ authorization: `Bearer ${fullKey} x` }, 'More than one word', fullKey],
    [{ authorization: `Bearer shop:${fullKey}` }, 'looks like name:KEY', fullKey],
    [{ 'x-api-key': `shop:${fullKey}:publish` }, 'looks like name:KEY', fullKey],
    [{ authorization: `Bearer ${token}` }, 'looks like a login token', token],
    [{ authorization: `Bearer ${fullKey}`, 'x-api-key': keyOf('read') }, 'hold different keys', fullKey],
    [{ 'x-api-key': '' }, 'The key is empty', fullKey],
    [{ 'x-api-key': 'wrong' }, 'The API key is not known.', 'wrong'],
  ]
  for (const [headers, detail, secret] of cases) {
    const response = await fetch(`${ingress.url}/v1/users/7`, { headers })
    const text = await response.text()
    expect(JSON.parse(text)).toMatchObject({ status: 401, code: 'api_key_invalid', detail: expect.stringContaining(detail) })
    expect(text).not.toContain(secret)
  }
  const twice = await ingress.raw()
  twice.socket.write(`GET /v1/users/7 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${fullKey}\r\nAuthorization: Bearer other\r\n\r\n`)
  expect(await twice.until(/more than one Authorization header/)).toMatch(/^HTTP\/1\.1 401 /)
  twice.socket.destroy()
  const { detail } = (await (await fetch(`${ingress.url}/v1/users/7`)).json()) as { detail: string }
  expect(detail).toBe('Send Authorization: Bearer KEY or X-API-Key: KEY.')
})

test('the login token of a browser opens nothing, whatever it claims', async () => {
  await using ingress = await startIngress()
  const token = jwt.sign({ sub: '42', scope: 'publish read admin', scopes: ['publish', 'admin'] }, fullKey)
  for (const headers of [{ authorization: `Bearer ${token}` }, { authorization: `Bearer ${token}`, 'x-api-key': token }]) {
    expect((await ingress.call('POST', '/v1/events', { body: event, headers })).json).toMatchObject({ status: 401, code: 'api_key_invalid' })
  }
})

test('a key does what its scopes say and nothing else', async () => {
  await using ingress = await startIngress()
  const calls = [
    ['publish', 'POST', '/v1/events', event],
    ['publish', 'POST', '/v1/events/batch', { events: [event] }],
    ['publish', 'PUT', '/v1/rooms/r/users/7', undefined],
    ['publish', 'DELETE', '/v1/rooms/r/users/7', undefined],
    ['read', 'GET', '/v1/users/7', undefined],
    ['read', 'GET', '/v1/users/7/events', undefined],
    ['read', 'GET', '/v1/rooms/r', undefined],
    ['read', 'GET', '/v1/rooms/r/events', undefined],
    ['admin', 'POST', '/v1/users/7/disconnect', undefined],
    ['admin', 'DELETE', '/v1/sessions/s', undefined],
  ] as const
  for (const [needed, method, path, body] of calls) {
    for (const scope of ['publish', 'read', 'admin'] as const) {
      const answer = await ingress.call(method, path, { body, headers: { authorization: `Bearer ${keyOf(scope)}` } })
      if (scope === needed) expect([method, path, answer.status < 300]).toEqual([method, path, true])
      else {
        expect(answer.json).toMatchObject({ status: 403, code: 'scope_missing', detail: `${scope} only lacks the scope ${needed}` })
        expect(answer.headers.get('www-authenticate')).toContain('error="insufficient_scope"')
      }
    }
  }
})

test('a key without the scope learns nothing from a body that is not valid', async () => {
  await using ingress = await startIngress()
  const { status } = await ingress.call('POST', '/v1/events', { body: '{', headers: { authorization: `Bearer ${keyOf('read')}` } })
  expect(status).toBe(403)
})

test('the metrics are open unless a key is asked for', async () => {
  await using open = await startIngress()
  expect((await fetch(`${open.url}/metrics`)).status).toBe(200)
  await using closed = await startIngress({ metricsKey: true })
  expect((await fetch(`${closed.url}/metrics`)).status).toBe(401)
  const asked = (scope: 'publish' | 'read') => closed.call('GET', '/metrics', { headers: { authorization: `Bearer ${keyOf(scope)}` } })
  expect((await asked('publish')).status).toBe(403)
  expect((await asked('read')).status).toBe(200)
})
