import { gzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { fullKey, head, type Ingress, startIngress } from './start-ingress.ts'

const json = { 'content-type': 'application/json' }
const good = '{"event":"a","to":{"users":[1]}}'

/** The process is as it was: nothing failed inside, nothing was stored, and the next event is taken. */
async function expectUnharmed(ingress: Ingress): Promise<void> {
  expect(ingress.failures).toEqual([])
  expect(ingress.log.head()).toBe(0)
  expect((await ingress.call('POST', '/v1/events', { body: good })).status).toBe(202)
}

async function expectRefusals(cases: readonly (readonly [what: string, body: string | Uint8Array, status: number, code: string])[]): Promise<void> {
  await using ingress = await startIngress()
  for (const [what, body, status, code] of cases) {
    for (const [path, sent] of [
      ['/v1/events', body],
      ['/v1/events/batch', body],
    ] as const) {
      const answer = await ingress.call('POST', path, { body: sent })
      expect([what, path, answer.status, answer.json.code]).toEqual([what, path, status, code])
    }
  }
  await expectUnharmed(ingress)
}

afterEach(() => {
  expect(Object.getOwnPropertyNames(Object.prototype)).not.toContain('polluted')
})

test('what is not JSON is refused', async () => {
  await expectRefusals([
    ['nothing', '', 400, 'invalid_json'],
    ['half', '{"event":', 400, 'invalid_json'],
    ['NaN', '{"event":NaN}', 400, 'invalid_json'],
    ['text after it', `${good}x`, 400, 'invalid_json'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d]), 400, 'invalid_json'],
    ['an overlong NUL', Buffer.from([0x22, 0xc0, 0x80, 0x22]), 400, 'invalid_json'],
    ['UTF-16', Buffer.from(good, 'utf16le'), 400, 'invalid_json'],
    ['a byte order mark', `\ufeff${good}`, 400, 'invalid_json'],
    ['PHP', 'a:1:{s:5:"event";s:1:"a";}', 400, 'invalid_json'],
  ])
})

test('a refusal says where the JSON goes wrong and does not repeat what was sent', async () => {
  await using ingress = await startIngress()
  const { text, json } = await ingress.call('POST', '/v1/events', { body: '{"password":"hunter2" oops}' })
  expect(json.detail).toBe('The body is not valid JSON: it goes wrong at position 22 (line 1 column 23).')
  expect(text).not.toMatch(/hunter2|oops/)
})

test('what is no JSON is told where it stops being it', async () => {
  await using ingress = await startIngress()
  for (const [body, mistake] of [
    ['{"event":', 'it ends too early, at position 9 (line 1 column 10)'],
    ['{\n"event":"a","to":{"users":["4', 'it ends too early, at position 31 (line 2 column 30)'],
    ['{"event":"a"}}', 'it goes wrong at position 13 (line 1 column 14)'],
    ['{\n"event": undefined}', 'it goes wrong at position 11 (line 2 column 10)'],
    ["{'event':1}", 'it goes wrong at position 1 (line 1 column 2)'],
    ['["a",]', 'it goes wrong at position 5 (line 1 column 6)'],
    [`["${'x'.repeat(20_000)}", nan]`, 'its syntax is wrong'],
  ] as const) {
    const { json } = await ingress.call('POST', '/v1/events', { body })
    expect(json.detail, body).toBe(`The body is not valid JSON: ${mistake}.`)
  }
})

test('nesting of a million levels is refused, wherever it stands', async () => {
  await using ingress = await startIngress({ maxEventBytes: 16_000_000 })
  const deep = `${'['.repeat(1e6)}${']'.repeat(1e6)}`
  const deepObject = `${'{"a":'.repeat(1e6)}1${'}'.repeat(1e6)}`
  for (const [path, body, status] of [
    ['/v1/events', deep, 422],
    ['/v1/events', deepObject, 422],
    ['/v1/events', `{"event":"a","to":{"all":true},"data":${deep}}`, 422],
    ['/v1/events', `{"event":"a","to":{"users":${deep}}}`, 422],
    ['/v1/events', `{"event":"a","to":{"all":true},"more":${deepObject}}`, 422],
    // With a number that takes the slow way through the parser.
    ['/v1/events', `{"event":"a","to":{"all":true},"id":12345678901234567890,"data":${deep}}`, 400],
    ['/v1/events?dry_run=true', deep, 422],
    ['/v1/events/batch', deep, 422],
    ['/v1/events/batch', `{"events":${deep}}`, 202],
    ['/v1/events/batch', `{"events":${deepObject}}`, 422],
    ['/v1/events/batch', `{"events":[${good.replace('}}', `},"data":${deep}}`)}]}`, 202],
    ['/v1/events/batch', `{"events":[1],"more":${deep}}`, 422],
  ] as const) {
    const answer = await ingress.call('POST', path, { body })
    expect([path, body.slice(0, 60), answer.status]).toEqual([path, body.slice(0, 60), status])
  }
  const { json } = await ingress.call('POST', '/v1/events', { body: `{"event":"a","to":{"all":true},"data":${deep}}` })
  expect(json.errors).toMatchObject([{ detail: 'is nested deeper than 64 levels' }])
  await expectUnharmed(ingress)
})

test('a key that could change a prototype is refused with its place', async () => {
  await using ingress = await startIngress()
  for (const [body, pointer] of [
    ['{"event":"a","to":{"all":true},"data":{"list":[{"__proto__":{"polluted":1}}]}}', '/data/list/0/__proto__'],
    ['{"event":"a","to":{"all":true},"data":{"constructor":{"prototype":{"polluted":1}}}}', '/data/constructor'],
    ['{"event":"a","to":{"all":true},"__proto__":{"polluted":1}}', '/__proto__'],
    ['{"event":"a","to":{"all":true,"__proto__":{"polluted":1}}}', '/to/__proto__'],
    ['{"__proto__":{"event":"a","to":{"all":true}}}', '/event'],
  ] as const) {
    const { json } = await ingress.call('POST', '/v1/events', { body })
    expect({ body, json }).toMatchObject({ body, json: { status: 422 } })
    expect(json.errors?.map((error) => error.pointer)).toContain(pointer)
  }
  const query = await ingress.call('POST', '/v1/events?__proto__[polluted]=1&constructor[prototype][polluted]=1', { body: good })
  expect(query.status).toBe(400)
  const envelope = await ingress.call('POST', '/v1/events/batch', { body: '{"events":[],"__proto__":{"polluted":1}}' })
  expect(envelope.status).toBe(422)
  await expectUnharmed(ingress)
})

test('other content types, other charsets and compressed bodies are refused', async () => {
  await using ingress = await startIngress()
  for (const headers of [
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/x-www-form-urlencoded' },
    { 'content-type': 'multipart/form-data; boundary=x' },
    { 'content-type': 'application/json; charset=utf-16' },
    { 'content-type': 'application/jsonx' },
    { 'content-type': '' },
    { 'content-type': ';' },
    { ...json, 'content-encoding': 'gzip' },
    { ...json, 'content-encoding': 'identity, br' },
  ] as readonly Readonly<Record<string, string>>[]) {
    for (const path of ['/v1/events', '/v1/events/batch']) {
      const answer = await ingress.call('POST', path, { body: gzipSync(good), headers })
      expect([headers, answer.status, answer.json.code]).toEqual([headers, 415, 'unsupported_media_type'])
    }
  }
  expect((await ingress.call('POST', '/v1/events', { body: good, headers: { 'content-type': 'application/x-ndjson' } })).status).toBe(415)
  await expectUnharmed(ingress)
})

test('the usual spellings of JSON are taken, and parameters leave nothing behind', async () => {
  await using ingress = await startIngress()
  for (const type of [
    'application/json; charset=UTF-8',
    'Application/JSON',
    'application/json;charset="utf-8"',
    'application/json; a=1',
    'application/json; a=2',
  ])
    expect(
      (await ingress.call('POST', '/v1/events?dry_run=true', { body: good, headers: { 'content-type': type, 'content-encoding': 'identity' } }))
        .status,
    ).toBe(200)
})

test('a body that trickles in is ended', async () => {
  await using ingress = await startIngress({ bodyTimeoutMs: 2000, lingerMs: 100 })
  const raw = await ingress.raw()
  raw.socket.write(head('POST', '/v1/events', { ...json, 'content-length': good.length }))
  let at = 0
  const trickle = setInterval(() => raw.socket.write(good[at++] ?? ''), 200)
  await raw.closed
  clearInterval(trickle)
  expect(raw.received()).toMatch(/^HTTP\/1\.1 408 .*connection: close.*"code":"request_timeout"/is)
  await expectUnharmed(ingress)
})

test('a body that goes on after its announced length is not taken for a part of it', async () => {
  await using ingress = await startIngress()
  const raw = await ingress.raw()
  raw.socket.write(`${head('POST', '/v1/events', { ...json, 'content-length': 5 })}${good}`)
  await raw.closed
  expect(raw.received()).toMatch(/^HTTP\/1\.1 400 /)
  await expectUnharmed(ingress)
})

test('a body that ends before its announced length is not stored', async () => {
  await using ingress = await startIngress()
  const raw = await ingress.raw()
  raw.socket.end(`${head('POST', '/v1/events', { ...json, 'content-length': good.length + 1 })}${good}`)
  await raw.closed
  expect(raw.received()).toMatch(/^(HTTP\/1\.1 400 |$)/)
  await expectUnharmed(ingress)
})

test('a client that leaves half-way leaves nothing behind', async () => {
  await using ingress = await startIngress()
  for (const headers of [{ 'content-length': 1000 }, { 'transfer-encoding': 'chunked' }]) {
    const raw = await ingress.raw()
    raw.socket.write(`${head('POST', '/v1/events', { ...json, ...headers })}5\r\n{"eve`)
    raw.socket.resetAndDestroy()
    await raw.closed
  }
  await expect.poll(() => new Promise((resolve) => ingress.server.getConnections((_, count) => resolve(count)))).toBe(0)
  await expectUnharmed(ingress)
})

test('what is not HTTP gets a plain refusal and no more', async () => {
  await using ingress = await startIngress()
  const requests: readonly (readonly [string, string])[] = [
    ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', '400'],
    ['GET /livez HTTP/9.9\r\nhost: x\r\n\r\n', '400'],
    ['GET /livez HTTP/1.1\r\n\r\n', '400'],
    [head('POST', '/v1/events', { ...json, 'content-length': '5, 6' }), '400'],
    [head('POST', '/v1/events', { ...json, 'content-length': -1 }), '400'],
    [head('POST', '/v1/events', { ...json, 'content-length': 5, 'transfer-encoding': 'chunked' }), '400'],
    [`${head('POST', '/v1/events', { ...json, 'transfer-encoding': 'chunked' })}zz\r\n`, '400'],
    [head('GET', '/livez', { 'x-long': 'x'.repeat(100_000) }), '431'],
    [head('GET', `/${'x'.repeat(100_000)}`), '431'],
    [head('POST', '/v1/events', { ...json, 'content-length': 2, expect: '200-maybe' }), '417'],
  ]
  for (const [request, status] of requests) {
    const raw = await ingress.raw()
    raw.socket.write(request, 'latin1')
    await raw.until(/\r\n\r\n/)
    expect([request.slice(0, 40), raw.received().slice(0, 12)]).toEqual([request.slice(0, 40), `HTTP/1.1 ${status}`])
    raw.socket.destroy()
  }
  await expectUnharmed(ingress)
})

test('hundreds of headers and an Expect that is met do no harm', async () => {
  await using ingress = await startIngress()
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`h${index}`, '']))
  const raw = await ingress.raw()
  raw.socket.write(head('GET', '/livez', many))
  expect(await raw.until(/\r\n\r\n/)).toContain('HTTP/1.1 200 ')
  raw.socket.write(head('POST', '/v1/events', { ...json, 'content-length': 1, expect: '100-continue' }))
  await raw.until(/100 Continue/)
  raw.socket.write('{')
  await raw.until(/HTTP\/1\.1 400 /)
  raw.socket.destroy()
  await expectUnharmed(ingress)
})

test('no answer and no metric holds the key', async () => {
  await using ingress = await startIngress()
  const answers = await Promise.all([
    ingress.call('GET', '/v1/users/7'),
    ingress.call('GET', `/v1/users/${fullKey}/nothing`),
    ingress.call('POST', '/v1/events', { body: good, headers: { authorization: `Bearer x${fullKey}` } }),
  ])
  for (const { text, headers } of [...answers, await ingress.call('GET', '/metrics')])
    expect(text + JSON.stringify([...headers])).not.toContain(fullKey)
})
