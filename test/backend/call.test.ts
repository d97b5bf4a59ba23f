import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { Call } from '../../src/backend/call.ts'

/** A server whose answers are the test's, and a way to it. */
async function startServer(answer: (request: IncomingMessage, response: ServerResponse) => void, timeoutMs = 5000) {
  const server = createServer((request, response) => {
    request.resume().on('end', () => answer(request, response))
  })
  let connections = 0
  server.on('connection', () => connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const call = new Call({ url: `http://127.0.0.1:${Object(server.address()).port}/`, setting: 'SIDECAST_TEST_URL', timeoutMs })
  return {
    server,
    call,
    get connections() {
      return connections
    },
    async [Symbol.asyncDispose]() {
      call.close()
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

const json = (response: ServerResponse, body: string): void => void response.setHeader('content-type', 'application/json').end(body)

test('a connection is used again', async () => {
  await using backend = await startServer((_request, response) => json(response, '{"allowed":true}'))
  for (let call = 0; call < 5; call++) expect((await backend.call.post({}, '{}')).json()).toEqual({ allowed: true })
  expect(backend.connections).toBe(1)
})

test('a question that meets a connection which has just been closed is asked again, once', async () => {
  let asked = 0
  await using backend = await startServer((request, response) => {
    asked++
    // A server that has dropped an idle connection resets it when something comes.
    if (asked % 2 === 0) request.socket.resetAndDestroy()
    else json(response, '{}')
  })
  await backend.call.post({}, '{}')
  expect((await backend.call.post({}, '{}')).status).toBe(200)
  expect(asked).toBe(3)
})

test('a question that a fresh connection does not answer is not asked again', async () => {
  let asked = 0
  await using backend = await startServer((request) => {
    asked++
    request.socket.resetAndDestroy()
  })
  await expect(backend.call.post({}, '{}')).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('cannot be asked') })
  expect(asked).toBe(1)
})

test('an answer that breaks off is no answer, and is not asked for again', async () => {
  let asked = 0
  await using backend = await startServer((request, response) => {
    asked++
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
    response.write('{"allowed":true', () => request.socket.destroySoon())
  })
  await expect(backend.call.post({}, '{}')).rejects.toMatchObject({ code: 'unavailable' })
  expect(asked).toBe(1)
})

test('at most 32 calls run at once, 1,024 wait, and the others are told at once', async () => {
  const open: ServerResponse[] = []
  await using backend = await startServer((_request, response) => {
    open.push(response)
    if (open.length === 32) full()
  })
  const { promise: filled, resolve: full } = Promise.withResolvers<void>()
  const calls = Array.from({ length: 32 + 1024 }, () => backend.call.post({}, '{}'))
  await filled
  await expect(backend.call.post({}, '{}')).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('1024') })
  expect(open.length).toBe(32)
  expect(backend.connections).toBe(32)
  // From here on each is answered when it comes.
  backend.server.on('request', (_request, response: ServerResponse) => json(response, '{}'))
  for (const response of open) json(response, '{}')
  expect((await Promise.all(calls)).length).toBe(32 + 1024)
})

test('what waits for its turn does not wait for longer than an answer may take', async () => {
  await using backend = await startServer(() => undefined, 200)
  const outcomes = await Promise.allSettled(Array.from({ length: 64 }, () => backend.call.post({}, '{}')))
  for (const outcome of outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'unavailable' } })
})

test.each([
  ['no Content-Type', undefined, '{"allowed":true}'],
  ['another Content-Type', 'text/json', '{"allowed":true}'],
  ['a list', 'application/json', '[true]'],
  ['nothing', 'application/json', ''],
  ['half of it', 'application/json', '{"allowed":tr'],
  ['bytes that are no text', 'application/json', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
])('%s is no answer', async (_name, type, body) => {
  await using backend = await startServer((_request, response) => {
    if (type !== undefined) response.setHeader('content-type', type)
    response.end(body)
  })
  const answer = await backend.call.post({}, '{}')
  expect(() => answer.json()).toThrow(expect.objectContaining({ code: 'unavailable' }))
})

test('headers that cannot be sent are a failure like any other', async () => {
  await using backend = await startServer((_request, response) => json(response, '{}'))
  await expect(backend.call.post({ cookie: 'a\r\nx: y' }, '{}')).rejects.toMatchObject({ code: 'unavailable' })
  expect((await backend.call.post({ cookie: 'ä=ü' }, '{}')).status).toBe(200)
})

test('nothing is asked once it is closed, and what is under way fails', async () => {
  await using backend = await startServer(() => backend.call.close())
  await expect(backend.call.post({}, '{}')).rejects.toMatchObject({ code: 'unavailable' })
  await expect(backend.call.post({}, '{}')).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('stopping') })
})
