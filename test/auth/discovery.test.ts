import { expect, test } from 'vitest'
import { answerOf, issuer, verifier } from './sign.ts'
import { createKey, json, startIssuer, type TestIssuer } from './test-issuer.ts'

const accepted = expect.objectContaining({ user: '42' })
const key = createKey('login')

/** Answers with this document at the well-known address, and with the key elsewhere. */
function discovering(server: TestIssuer, document: unknown): void {
  server.answer = (...call) => json(call[0].url?.includes('/.well-known/') ? document : { keys: [key.jwk] })(...call)
}

function verifierOf(name: string) {
  const failures: string[] = []
  const { verify } = verifier([issuer({ keys: [{ kind: 'oidc', issuer: name }] })], { onFailure: (error) => void failures.push(String(error)) })
  return { failures, judge: (token: string) => answerOf(() => verify(token)) }
}

test.each(['', '/', '/realms/shop', '/realms/shop/'])('an issuer with the path %j is asked where its keys are', async (path) => {
  await using server = await startIssuer()
  const name = `${server.url}${path}`
  discovering(server, { issuer: name, jwks_uri: `${server.url}/certs` })
  const { judge, failures } = verifierOf(name)
  expect(await judge(key.sign({ iss: name }))).toEqual(accepted)
  expect(failures).toEqual([])
  expect(server.requests).toEqual([`${path.replace(/\/$/, '')}/.well-known/openid-configuration`, '/certs'])
})

test('its name is what its tokens must name as their issuer, configured or not', async () => {
  await using server = await startIssuer()
  discovering(server, { issuer: server.url, jwks_uri: `${server.url}/certs` })
  const { judge } = verifierOf(server.url)
  for (const iss of [undefined, `${server.url}/`, 'https://other', [server.url]]) expect(await judge(key.sign({ iss }))).toBe('token_issuer')
  expect(server.requests).toEqual([])
})

test.each<[string, (url: string) => unknown, RegExp]>([
  ['that of another issuer', (url) => ({ issuer: 'https://other', jwks_uri: `${url}/certs` }), /is that of "https:\/\/other"/],
  ['that of an issuer with one more slash', (url) => ({ issuer: `${url}/`, jwks_uri: `${url}/certs` }), /configure the issuer exactly so/],
  ['nobody’s', (url) => ({ jwks_uri: `${url}/certs` }), /is that of undefined/],
  ['one without keys', (url) => ({ issuer: url }), /no jwks_uri/],
  ['one with a list for an address', (url) => ({ issuer: url, jwks_uri: [`${url}/certs`] }), /no jwks_uri/],
  ['one with half an address', (url) => ({ issuer: url, jwks_uri: '/certs' }), /not an http or https URL/],
  ['one with a file for an address', (url) => ({ issuer: url, jwks_uri: 'file:///etc/passwd' }), /not an http or https URL/],
  [
    'one with a password in its address',
    (url) => ({ issuer: url, jwks_uri: 'https://name:canary@127.0.0.1:9/' }),
    /at 127.0.0.1:9 holds a name or a password/,
  ],
  ['one that leads elsewhere without TLS', (url) => ({ issuer: url, jwks_uri: 'http://192.0.2.1/certs' }), /must be https/],
  ['a list', (url) => [url], /is that of undefined/],
  ['null', () => null, /is that of undefined/],
])('a discovery document that is %s is not followed', async (_, document, reason) => {
  await using server = await startIssuer()
  discovering(server, document(server.url))
  const { judge, failures } = verifierOf(server.url)
  expect(await judge(key.sign({ iss: server.url }))).toBe('unavailable')
  expect(failures).toEqual([expect.stringMatching(reason)])
  expect(failures.join()).not.toContain('canary')
  expect(server.requests).toHaveLength(1)
})

test('a redirect of the keys is not followed either', async () => {
  await using server = await startIssuer()
  discovering(server, { issuer: server.url, jwks_uri: `${server.url}/certs` })
  const { answer } = server
  server.answer = (request, response) => {
    if (request.url === '/certs') response.writeHead(307, { location: '/elsewhere' }).end()
    else answer(request, response)
  }
  const { judge } = verifierOf(server.url)
  expect(await judge(key.sign({ iss: server.url }))).toBe('unavailable')
  expect(server.requests.at(-1)).toBe('/certs')
})

test.each(['shop.example', 'ftp://shop.example', 'https://name:password@shop.example', ''])('%j is no address of an issuer', (name) => {
  expect(() => verifierOf(name)).toThrow(/http or https URL|holds a name or a password/)
  expect(() => verifier([issuer({ keys: [{ kind: 'jwks', url: name }] })])).toThrow(/http or https URL|holds a name or a password/)
})
