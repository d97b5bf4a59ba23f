import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import type { HttpIngressOptions } from '../../src/http/ingress.ts'
import { newFolder } from '../log/folders.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import { signRequest } from './sign-request.ts'
import { fullKey, startIngress } from './start-ingress.ts'

const secret = randomBytes(32)
const other = randomBytes(32)

async function startSigned(overrides: Partial<HttpIngressOptions> = {}) {
  const ingress = await startIngress({ signingKeys: [{ name: 'shop', scopes: ['publish'], secret }], ...overrides })
  const post = async (body: string, headers: Readonly<Record<string, string>>, path = '/v1/events') => {
    const response = await fetch(`${ingress.url}${path}`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })
    const json = (await response.json()) as { readonly [field: string]: unknown; readonly code?: string }
    return { status: response.status, headers: response.headers, json }
  }
  return { ...ingress, post, [Symbol.asyncDispose]: () => ingress[Symbol.asyncDispose]() }
}

const body = JSON.stringify({ event: 'order.updated', data: { umlaut: 'ä' }, to: { users: ['42'] } })

test('a signed request publishes, and its webhook-id is the id of the event', async () => {
  await using ingress = await startSigned()
  const { status, json } = await ingress.post(body, signRequest(secret, body, { id: 'msg_1' }))
  expect({ status, json }).toMatchObject({ status: 202, json: { id: 'msg_1', duplicate: false } })
  expect((await ingress.call('GET', '/metrics')).text).toContain('sidecast_http_credentials_total{credential="shop"} 1')
})

test('the same signed request again is refused; a new attempt with the same id is answered as a duplicate', async () => {
  await using ingress = await startSigned()
  const now = Math.floor(Date.now() / 1000)
  const first = signRequest(secret, body, { id: 'msg_1', timestamp: now })
  expect((await ingress.post(body, first)).status).toBe(202)
  expect(await ingress.post(body, first)).toMatchObject({ status: 409, json: { code: 'signature_replayed' } })
  // Under another address it is the same request.
  expect(await ingress.post(body, first, '/v1/events?dry_run=true')).toMatchObject({ status: 409 })
  const second = await ingress.post(body, signRequest(secret, body, { id: 'msg_1', timestamp: now + 1 }))
  expect(second).toMatchObject({ status: 202, json: { id: 'msg_1', duplicate: true } })
})

test('of two good signatures one may not be taken away to use the request twice', async () => {
  const signingKeys = [secret, other].map((one) => ({ name: 'shop', scopes: ['publish'] as const, secret: one }))
  await using ingress = await startSigned({ signingKeys })
  const headers = signRequest([other, secret], body)
  expect((await ingress.post(body, headers)).status).toBe(202)
  for (const signature of headers['webhook-signature'].split(' '))
    expect((await ingress.post(body, { ...headers, 'webhook-signature': signature })).json.code).toBe('signature_replayed')
  expect((await ingress.post(body, { ...headers, 'webhook-signature': `v1,AAAA ${headers['webhook-signature']}` })).json.code).toBe(
    'signature_replayed',
  )
})

test('an event keeps an id of its own, and the events of a batch get theirs from the webhook-id', async () => {
  await using ingress = await startSigned()
  const own = JSON.stringify({ event: 'a', id: 'mine', to: { all: true } })
  expect((await ingress.post(own, signRequest(secret, own))).json.id).toBe('mine')
  const batch = JSON.stringify({ events: [{ event: 'a', to: { all: true } }, { event: 'b', id: 'b', to: { all: true } }, 7] })
  const now = Math.floor(Date.now() / 1000)
  const attempt = (timestamp: number) => ingress.post(batch, signRequest(secret, batch, { id: 'batch', timestamp }), '/v1/events/batch')
  expect((await attempt(now)).json.results).toMatchObject([{ id: 'batch:0' }, { id: 'b' }, { status: 422 }])
  expect((await attempt(now + 1)).json.results).toMatchObject([{ id: 'batch:0', duplicate: true }, { id: 'b', duplicate: true }, { status: 422 }])
})

test('whatever of a signed request is changed, it is refused', async () => {
  await using ingress = await startSigned()
  const good = () => signRequest(secret, body)
  const cases: readonly (readonly [string, string, Readonly<Record<string, string>>])[] = [
    ['another body', body.replace('42', '43'), good()],
    ['a space more', `${body} `, good()],
    ['another id', body, { ...good(), 'webhook-id': 'other' }],
    ['another time', body, { ...good(), 'webhook-timestamp': String(Math.floor(Date.now() / 1000) + 7) }],
    ['the time written in another way', body, { ...good(), 'webhook-timestamp': `0${Math.floor(Date.now() / 1000)}` }],
    ['another secret', body, signRequest(other, body)],
    ['no version', body, { ...good(), 'webhook-signature': good()['webhook-signature'].slice(3) }],
    ['another version', body, { ...good(), 'webhook-signature': good()['webhook-signature'].replace('v1,', 'v1a,') }],
    ['half a signature', body, { ...good(), 'webhook-signature': good()['webhook-signature'].slice(0, 20) }],
    ['no signature', body, { ...good(), 'webhook-signature': '' }],
  ]
  for (const [what, changed, headers] of cases) {
    const { status, json, headers: answered } = await ingress.post(changed, headers)
    expect([what, status, json.code]).toEqual([what, 401, 'signature_invalid'])
    expect(answered.get('www-authenticate')).toBe('Bearer realm="sidecast"')
    expect(JSON.stringify(json)).not.toContain(headers['webhook-signature'] || headers['webhook-id'])
  }
  for (const name of ['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const) {
    const { [name]: _, ...rest } = good()
    expect((await ingress.post(body, rest)).json).toMatchObject({ code: 'signature_invalid', detail: expect.stringContaining(name) })
  }
  expect((await ingress.call('GET', '/v1/users/42/events')).json.events).toEqual([])
})

test('a request is good for five minutes before and after its time', async () => {
  const now = 1_800_000_000
  await using ingress = await startSigned({ now: () => now * 1000 })
  const at = async (timestamp: number | string) => (await ingress.post(body, signRequest(secret, body, { timestamp }))).status
  expect([await at(now - 300), await at(now + 300)]).toEqual([202, 202])
  for (const timestamp of [now - 301, now + 301, now * 1000, 0, -now, '1e9', 'now', ''])
    expect([timestamp, await at(timestamp)]).toEqual([timestamp, 401])
})

test('a request that has come is remembered for as long as its time would be taken', async () => {
  const start = 1_800_000_000
  let now = start
  await using ingress = await startSigned({ now: () => now * 1000 })
  const early = signRequest(secret, body, { timestamp: start + 300 })
  expect((await ingress.post(body, early)).status).toBe(202)
  for (now of [start + 1, start + 299, start + 301, start + 600]) expect((await ingress.post(body, early)).json.code).toBe('signature_replayed')
  now = start + 601
  expect((await ingress.post(body, early)).json.code).toBe('signature_invalid')
})

test('what has come is refused after a restart too, however the bridge ended; a new attempt is taken', async () => {
  const directory = newFolder()
  const settings = { SIGNING_KEYS: `shop:whsec_${secret.toString('base64')}:publish+admin`, DEDUPE_WINDOW: '1s' }
  const bodies = [
    ['/v1/events', body],
    ['/v1/events', JSON.stringify({ event: 'gone', to: { all: true }, volatile: true })],
    ['/v1/events/batch', JSON.stringify({ events: [{ event: 'b', to: { all: true } }] })],
    ['/v1/revocations', JSON.stringify({ user: '1' })],
  ] as const
  // Of a clock that is ahead, which is when it can come back for longest.
  const now = Math.floor(Date.now() / 1000) + 240
  const all = bodies.map(([path, content], index) => ({ path, content, headers: signRequest(secret, content, { id: `m${index}`, timestamp: now }) }))
  const send = (url: string, attempts: typeof all) =>
    Promise.all(
      attempts.map(async ({ path, content, headers }) => {
        const response = await fetch(`${url}${path}`, { method: 'POST', body: content, headers: { 'content-type': 'application/json', ...headers } })
        return response.status
      }),
    )
  for (const [run, expected] of [202, 409, 409].entries()) {
    await using bridge = new BridgeProcess(settings, { directory })
    const { privateUrl } = await bridge.ready()
    expect(await send(privateUrl, all), `in run ${run}`).toEqual(all.map(() => expected))
    const anew = all.map(({ path, content }, index) => ({
      path,
      content,
      headers: signRequest(secret, content, { id: `m${index}`, timestamp: now + run + 1 }),
    }))
    expect(await send(privateUrl, anew)).toEqual(all.map(() => 202))
    bridge.signal(run === 0 ? 'SIGKILL' : 'SIGTERM')
    await bridge.ended
  }
})

test('a webhook-id with a dot is refused: the border between it and the rest could be moved', async () => {
  await using ingress = await startSigned()
  for (const id of ['a.b', 'a b', '', 'x'.repeat(191)])
    expect((await ingress.post(body, signRequest(secret, body, { id }))).json).toMatchObject({ code: 'signature_invalid' })
})

test('a signed request has no second credential, and no Idempotency-Key, which nobody signed', async () => {
  await using ingress = await startSigned()
  for (const credential of [{ authorization: `Bearer ${fullKey}` }, { 'x-api-key': fullKey }])
    expect((await ingress.post(body, { ...signRequest(secret, body), ...credential } as Record<string, string>)).json.code).toBe('signature_invalid')
  const keyed = await ingress.post(body, { ...signRequest(secret, body), 'idempotency-key': 'mine' })
  expect(keyed).toMatchObject({ status: 400, json: { code: 'invalid_request', errors: [{ pointer: '/headers/idempotency-key' }] } })
})

test('only a call with a body can be signed: a signature says nothing about the address', async () => {
  await using ingress = await startSigned({ signingKeys: [{ name: 'shop', scopes: ['publish', 'read', 'admin'], secret }] })
  for (const [method, path] of [
    ['PUT', '/v1/rooms/r/users/7'],
    ['DELETE', '/v1/rooms/r/users/7'],
    ['GET', '/v1/users/7'],
    ['POST', '/v1/users/7/disconnect'],
  ] as const) {
    const response = await fetch(`${ingress.url}${path}`, { method, headers: signRequest(secret, '') })
    expect([method, path, await response.json()]).toMatchObject([
      method,
      path,
      { status: 401, code: 'signature_invalid', detail: expect.stringContaining('with a body') },
    ])
  }
  const revocation = JSON.stringify({ user: '42' })
  expect((await ingress.post(revocation, signRequest(secret, revocation), '/v1/revocations')).status).toBe(202)
})

test('a stream cannot be signed, and says so', async () => {
  await using ingress = await startSigned()
  const answer = await ingress.post(body, { ...signRequest(secret, body), 'content-type': 'application/x-ndjson' }, '/v1/events/batch')
  expect(answer).toMatchObject({ status: 415, json: { code: 'unsupported_media_type', detail: expect.stringContaining('cannot be signed') } })
})

test('a signer does what its scopes and its reach allow, and without them learns nothing from the body', async () => {
  await using ingress = await startSigned({
    signingKeys: [
      { name: 'reader', scopes: ['read'], secret },
      { name: 'news', scopes: ['publish'], secret: other, rooms: [['news']] },
    ],
  })
  expect((await ingress.post('{', signRequest(secret, '{'))).json).toMatchObject({ code: 'scope_missing', detail: 'reader lacks the scope publish' })
  expect((await ingress.post(body, signRequest(other, body))).json.code).toBe('publish_forbidden')
})

test('a body that is larger than allowed is refused before it is verified', async () => {
  await using ingress = await startSigned({ maxEventBytes: 100 })
  const large = JSON.stringify({ event: 'a', data: 'x'.repeat(200), to: { all: true } })
  expect((await ingress.post(large, signRequest(secret, large))).json.code).toBe('event_too_large')
})

test('where no request can be signed, that is said; and a secret that is sent as a key is called one', async () => {
  await using ingress = await startIngress()
  const response = await ingress.call('POST', '/v1/events', { body, headers: { ...signRequest(secret, body) } })
  expect(response.json).toMatchObject({ code: 'signature_invalid', detail: expect.stringContaining('no other credential') })
  const bare = await fetch(`${ingress.url}/v1/events`, { method: 'POST', body, headers: signRequest(secret, body) })
  expect(await bare.json()).toMatchObject({ code: 'signature_invalid', detail: expect.stringContaining('SIDECAST_SIGNING_KEYS is not set') })
  const sent = await ingress.call('GET', '/v1/users/7', { headers: { authorization: `Bearer whsec_${secret.toString('base64')}` } })
  expect(sent.json).toMatchObject({ code: 'api_key_invalid', detail: expect.stringContaining('replace it') })
})
