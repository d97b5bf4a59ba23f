import { request } from 'node:http'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { fullKey, head, type Ingress, startIngress } from './start-ingress.ts'

const type = { 'content-type': 'application/x-ndjson' }
const line = (data: unknown, more: object = {}) => JSON.stringify({ event: 'n', data, to: { users: [1] }, ...more })

interface Result {
  readonly status: number
  readonly code?: string
  readonly offset?: string
  readonly duplicate?: boolean
}

async function post(ingress: Ingress, body: string | Uint8Array): Promise<readonly Result[]> {
  const { status, headers, text } = await ingress.call('POST', '/v1/events/batch', { body, headers: type })
  expect(status).toBe(202)
  expect(headers.get('content-type')).toBe('application/x-ndjson')
  return text
    .split('\n')
    .slice(0, -1)
    .map((answer) => JSON.parse(answer))
}

/** A stream that stays open: writes lines, reads answers one by one. */
function openStream({ port }: Ingress) {
  const stream = request({ port, method: 'POST', path: '/v1/events/batch', headers: { ...type, authorization: `Bearer ${fullKey}` } })
  stream.flushHeaders()
  stream.on('error', () => {})
  const answers = new Promise<AsyncIterator<string>>((resolve) => {
    stream.on('response', (response) => {
      response.on('error', () => {})
      resolve(createInterface({ input: response })[Symbol.asyncIterator]())
    })
  })
  return {
    stream,
    async next(): Promise<Result | undefined> {
      const { value, done } = await (await answers).next()
      return done ? undefined : JSON.parse(value)
    },
  }
}

test('each line is answered in order, and the bad ones do not stop the others', async () => {
  await using ingress = await startIngress({ maxEventBytes: 1000 })
  const body = Buffer.concat(
    [
      line(1),
      '',
      '{"event":',
      '  \t\r',
      Buffer.from([0x22, 0xff, 0xfe, 0x22]),
      line('x'.repeat(2000)),
      '[]',
      line(2, { id: 'k' }),
      `\ufeff${line(3)}`,
      `${line(2, { id: 'k' })}\r`,
      '{"event":"n","to":{"users":[9007199254740993]}}',
      `${'['.repeat(900)}`,
      line(4),
    ].flatMap((part, index) => [Buffer.from(index === 0 ? '' : '\n'), Buffer.from(part as string)]),
  )
  const results = await post(ingress, body)
  expect(results.map(({ status, code, duplicate }) => code ?? (duplicate ? `${status} again` : status))).toEqual([
    202,
    'invalid_json',
    'invalid_json',
    'event_too_large',
    'invalid_event',
    202,
    'invalid_json',
    '202 again',
    'invalid_event',
    'invalid_json',
    202,
  ])
  const { json } = await ingress.call('GET', '/v1/users/1/events')
  expect(json.events).toMatchObject([{ data: 1 }, { data: 2 }, { data: 4 }])
})

test('many lines are stored and answered in the order in which they came', async () => {
  await using ingress = await startIngress()
  const lines = Array.from({ length: 5000 }, (_, data) => line(data, { id: `k${data}` }))
  const results = await post(ingress, lines.join('\n'))
  expect(results.map(({ offset }) => offset)).toEqual(lines.map((_, index) => ingress.log.offsetOf(index + 1)))
})

test('an empty stream gets an empty answer', async () => {
  await using ingress = await startIngress()
  expect(await post(ingress, '')).toEqual([])
  expect(await post(ingress, '\n\n \n')).toEqual([])
})

test('a line of exactly the limit is good, one byte more is not', async () => {
  await using ingress = await startIngress({ maxEventBytes: 500 })
  const exact = line('x'.repeat(500 - line('').length))
  expect(exact).toHaveLength(500)
  expect((await post(ingress, `${exact}\n${exact} \n${exact}`)).map(({ status }) => status)).toEqual([202, 413, 202])
})

test('a line is answered while the stream is still open', async () => {
  await using ingress = await startIngress()
  const { stream, next } = openStream(ingress)
  for (let n = 1; n <= 3; n++) {
    stream.write(`${line(n)}\n`)
    expect(await next()).toMatchObject({ status: 202 })
    expect(ingress.log.head()).toBe(n)
  }
  stream.write(line('in two '))
  stream.end(`\n${line(5)}`)
  expect(await next()).toMatchObject({ status: 202 })
  expect(await next()).toMatchObject({ status: 202 })
  expect(await next()).toBeUndefined()
})

test('lines cut anywhere are put together again', async () => {
  await using ingress = await startIngress()
  const raw = await ingress.raw()
  raw.socket.setNoDelay(true)
  raw.socket.write(head('POST', '/v1/events/batch', { ...type, 'transfer-encoding': 'chunked' }))
  const text = Buffer.from(`${line('é😀')}\n\n${line(2)}\n`)
  for (const byte of text) raw.socket.write(Buffer.concat([Buffer.from('1\r\n'), Buffer.from([byte]), Buffer.from('\r\n')]))
  raw.socket.write('0\r\n\r\n')
  await raw.until(/0\r\n\r\n$/)
  expect((await ingress.call('GET', '/v1/users/1/events')).json.events).toMatchObject([{ data: 'é😀' }, { data: 2 }])
  raw.socket.destroy()
})

test('a client that breaks off leaves its whole lines stored and nothing behind', async () => {
  await using ingress = await startIngress()
  const { stream, next } = openStream(ingress)
  stream.write(`${line(1)}\n${line(2)}\n${line(3).slice(0, -4)}`)
  await next()
  await next()
  stream.destroy()
  await expect.poll(() => new Promise((resolve) => ingress.server.getConnections((_, count) => resolve(count)))).toBe(0)
  expect(ingress.log.head()).toBe(2)
  expect(ingress.failures).toEqual([])
  expect((await ingress.call('GET', '/metrics')).text).toContain('route="/v1/events/batch",status="aborted"} 1')
})

test('lines that cannot be stored say so, and the stream goes on', async () => {
  await using ingress = await startIngress()
  const { stream, next } = openStream(ingress)
  stream.write(`${line(1)}\n`)
  expect(await next()).toMatchObject({ status: 202 })
  await ingress.log.close()
  stream.write(`${line(2)}\n`)
  expect(await next()).toMatchObject({ status: 503, code: 'log_unavailable' })
  stream.end(`{\n${line(3)}`)
  expect(await next()).toMatchObject({ status: 400, code: 'invalid_json' })
  expect(await next()).toMatchObject({ status: 503, code: 'log_unavailable' })
  expect(await next()).toBeUndefined()
})

test('a node that drains refuses further lines and ends the stream', async () => {
  await using ingress = await startIngress()
  const { stream, next } = openStream(ingress)
  stream.write(`${line(1)}\n`)
  expect(await next()).toMatchObject({ status: 202 })
  ingress.drain()
  stream.write(`${line(2)}\n`)
  expect(await next()).toMatchObject({ status: 503, code: 'draining' })
  expect(await next()).toBeUndefined()
  expect(ingress.log.head()).toBe(1)
  stream.destroy()
})

test('a stream in which nothing moves is ended with a word', async () => {
  await using ingress = await startIngress({ streamIdleMs: 3000, lingerMs: 50 })
  const { stream, next } = openStream(ingress)
  const closed = new Promise((resolve) => stream.on('close', resolve))
  stream.write(`${line(1)}\n`)
  expect(await next()).toMatchObject({ status: 202 })
  expect(await next()).toMatchObject({ status: 408, code: 'request_timeout' })
  expect(await next()).toBeUndefined()
  await closed
})
