import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { apiKey, login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { openRaw } from './raw-client.ts'
import { startServerProcess } from './server-processes.ts'

/** Someone else is connected and gets what is published for them: the bridge has survived. */
async function expectToServe(bridge: TestBridge): Promise<void> {
  await using session = connectSession(bridge.publicUrl, { token: login('witness') })
  await session.notice('sidecast:ready')
  await bridge.publish({ event: 'alive', to: { users: ['witness'] } })
  expect(await session.event()).toMatchObject({ event: 'alive' })
}

async function sessionsOf(bridge: TestBridge, user: string): Promise<number> {
  const { body } = await bridge.call('GET', `/v1/users/${user}`)
  return (body.sessions as readonly unknown[]).length
}

test('a thousand CONNECTs on one connection are a thousand sockets to stock Socket.IO, and to us the end of the connection', async () => {
  await using stock = await startServerProcess('stock')
  await using harmed = await openRaw(stock.publicUrl)
  harmed.send(...Array<string>(1000).fill('40/looked-up,'))
  await harmed.until(() => harmed.packets.filter((packet) => packet.startsWith('40')).length === 1000)
  expect(await stock.ask('sockets')).toBe(1000)

  await using bridge = await startTestBridge()
  const connects = [`40${JSON.stringify({ token: login('42') })}`, `4 ${JSON.stringify({ token: login('42') })}`, `4\t{}`, '40', '4']
  for (const second of connects) {
    await using raw = await openRaw(bridge.publicUrl)
    raw.send(connects[0] ?? '', ...Array<string>(1000).fill(second))
    await raw.closed
    expect(raw.packets.filter((packet) => packet.startsWith('40')).length).toBeLessThanOrEqual(1)
  }
  await expect.poll(() => sessionsOf(bridge, '42')).toBe(0)
  await expectToServe(bridge)
})

test('a session ends when its connection asks for a second one', async () => {
  await using bridge = await startTestBridge()
  for (const second of ['40', '40/other,', '4 {}', '4\u00a0{}']) {
    await using raw = await openRaw(bridge.publicUrl)
    await raw.login(login('42'))
    raw.send(second)
    await raw.closed
  }
  await expect.poll(() => sessionsOf(bridge, '42')).toBe(0)
})

test('who was refused may try without end on one connection of stock Socket.IO, and once on one of ours', async () => {
  await using stock = await startServerProcess('stock')
  await using harmed = await openRaw(stock.publicUrl)
  for (let tries = 1; tries <= 500; tries++) {
    harmed.send('40/refused,')
    await harmed.until(() => harmed.packets.filter((packet) => packet.startsWith('44')).length === tries)
  }
  expect(await stock.ask('middlewareRuns')).toBe(500)

  await using bridge = await startTestBridge()
  for (const again of ['40{"token":"x"}', '4 {"token":"x"}', `40${JSON.stringify({ token: login('42') })}`]) {
    await using raw = await openRaw(bridge.publicUrl)
    raw.send('40{"token":"x"}')
    await raw.packet('44')
    raw.send(again)
    await raw.closed
    expect(raw.packets.filter((packet) => /^4[04]/.test(packet))).toEqual([expect.stringContaining('token_malformed')])
  }
})

test('who was refused and does not go is sent away', async () => {
  await using bridge = await startTestBridge()
  await using raw = await openRaw(bridge.publicUrl)
  raw.send('40{}')
  expect(JSON.parse((await raw.packet('44')).slice(2))).toMatchObject({ data: { code: 'token_missing', retry: false } })
  await raw.closed
})

test('there is one namespace, and no other can be had with any token', async () => {
  await using bridge = await startTestBridge({ CONNECT_TIMEOUT: '300ms' })
  for (const namespace of ['/admin', '/__proto__', '/constructor', '//', '/%2f', '/?token=x', `/${'n'.repeat(10_000)}`]) {
    await using raw = await openRaw(bridge.publicUrl)
    raw.send(`40${namespace},${JSON.stringify({ token: login('42') })}`)
    await raw.closed
    expect(raw.packets.filter((packet) => packet.startsWith('40'))).toEqual([])
  }
  expect(await sessionsOf(bridge, '42')).toBe(0)
})

test('unfinished attachments of a stranger stay in the memory of stock Socket.IO, and close a connection of ours', async () => {
  const announcement = `459-${JSON.stringify(['x', ...Array.from({ length: 9 }, (_, num) => ({ _placeholder: true, num }))])}`
  const attachment = Buffer.alloc(900_000, 1)

  await using stock = await startServerProcess('stock')
  await using harmed = await openRaw(stock.publicUrl)
  const before = await stock.memory()
  harmed.send(announcement)
  for (let sent = 0; sent < 8; sent++) harmed.socket.send(attachment)
  await expect.poll(async () => (await stock.memory()) - before).toBeGreaterThan(6e6)

  await using bridge = await startTestBridge()
  for (const packets of [
    [announcement],
    ['40{}', announcement],
    ['451-["x",{"_placeholder":true,"num":0}]'],
    ['461-1[{"_placeholder":true,"num":0}]'],
  ]) {
    await using raw = await openRaw(bridge.publicUrl)
    raw.send(...packets)
    await raw.closed
  }
  await using raw = await openRaw(bridge.publicUrl)
  raw.socket.send(Buffer.alloc(100))
  await raw.closed
  await using known = await openRaw(bridge.publicUrl)
  await known.login(login('42'))
  known.send(announcement)
  await known.closed
})

/** A masked frame as a client sends it; the mask is zero, so the payload stands as it is. */
function clientFrame(firstByte: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.of(firstByte, 0x80 | payload.length, 0, 0, 0, 0), payload])
}

test('pings whose answers nobody reads fill the memory of stock Socket.IO, and not ours', async () => {
  const pings = Buffer.concat(Array<Buffer>(1000).fill(clientFrame(0x89, Buffer.alloc(125))))
  const flood = async (url: string, chunks: number): Promise<boolean> => {
    const raw = await openRaw(url)
    raw.tcp.pause()
    for (let sent = 0; sent < chunks && !raw.tcp.destroyed; sent++) {
      if (!raw.tcp.write(pings)) await Promise.race([once(raw.tcp, 'drain').catch(() => undefined), raw.closed])
    }
    const survived = !raw.tcp.destroyed
    raw.tcp.resume()
    return survived
  }
  await using stock = await startServerProcess('stock')
  const stockBefore = await stock.memory()
  const harmed = await openRaw(stock.publicUrl)
  harmed.tcp.pause()
  for (let sent = 0; sent < 200; sent++) if (!harmed.tcp.write(pings)) await once(harmed.tcp, 'drain')
  await expect.poll(async () => (await stock.memory()) - stockBefore).toBeGreaterThan(20e6)
  harmed.tcp.destroy()

  await using bridge = await startServerProcess('bridge')
  const before = await bridge.memory()
  for (let attacker = 0; attacker < 3; attacker++) expect(await flood(bridge.publicUrl, 2000)).toBe(false)
  expect((await bridge.memory()) - before).toBeLessThan(5e6)
})

test('messages in thousands of crumbs fill the memory of stock Socket.IO, and close a connection of ours', async () => {
  const crumbs = (count: number): Buffer => Buffer.concat(Array<Buffer>(count).fill(clientFrame(0x00, Buffer.from('x'))))
  const begin = clientFrame(0x01, Buffer.from('4'))

  await using stock = await startServerProcess('stock')
  const before = await stock.memory()
  const harmed = await Promise.all(Array.from({ length: 10 }, () => openRaw(stock.publicUrl)))
  for (const { tcp } of harmed) tcp.write(Buffer.concat([begin, crumbs(15_000)]))
  await expect.poll(async () => (await stock.memory()) - before).toBeGreaterThan(8e6)
  for (const { socket } of harmed) socket.terminate()

  await using bridge = await startTestBridge()
  await using raw = await openRaw(bridge.publicUrl)
  const closed = once(raw.socket, 'close')
  raw.tcp.write(Buffer.concat([begin, crumbs(100)]))
  expect((await closed)[0]).toBe(1008)
})

test('what is longer than a login needs closes the connection', async () => {
  await using bridge = await startTestBridge()
  await using raw = await openRaw(bridge.publicUrl)
  const closed = once(raw.socket, 'close')
  raw.send(`40{"token":"${'x'.repeat(17_000)}"}`)
  expect((await closed)[0]).toBe(1009)

  await using claimed = await openRaw(bridge.publicUrl)
  // A frame that says that a gigabyte follows; none of it is waited for.
  const header = Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0])
  const cut = once(claimed.socket, 'close')
  claimed.tcp.write(header)
  expect((await cut)[0]).toBe(1009)

  const sid = await openPolling(bridge)
  const { status } = await poll(bridge, sid, { method: 'POST', body: `40{"token":"${'x'.repeat(17_000)}"}` })
  expect(status).toBe(413)
  await expectToServe(bridge)
})

const engine = (bridge: TestBridge, query: string): string => `${bridge.publicUrl}/socket.io/?EIO=4&${query}`

async function openPolling(bridge: TestBridge): Promise<string> {
  const response = await fetch(engine(bridge, 'transport=polling'))
  const { sid }: { readonly sid: string } = JSON.parse((await response.text()).slice(1))
  return sid
}

async function poll(bridge: TestBridge, sid: string, init: RequestInit = {}): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(engine(bridge, `transport=polling&sid=${sid}`), init)
  return { status: response.status, text: await response.text() }
}

test('who connects and does not say who it is within the time for it is sent away, on WebSocket and polling', async () => {
  await using bridge = await startTestBridge({ CONNECT_TIMEOUT: '200ms' })
  await using silent = await openRaw(bridge.publicUrl)
  await using busy = await openRaw(bridge.publicUrl)
  const timer = setInterval(() => busy.socket.send('3'), 10)
  await Promise.all([silent.closed, busy.closed])
  clearInterval(timer)

  const sid = await openPolling(bridge)
  const answers: string[] = []
  await expect.poll(async () => answers.push((await poll(bridge, sid)).text) > 0 && answers.at(-1)).toContain('Session ID unknown')
})

test('leaving the namespace keeps a connection to stock Socket.IO open, and closes ours', async () => {
  await using stock = await startServerProcess('stock')
  await using idle = await openRaw(stock.publicUrl)
  idle.send('40')
  await idle.packet('40')
  idle.send('41', '40/looked-up,')
  await idle.packet('40/looked-up')

  await using bridge = await startTestBridge()
  await using raw = await openRaw(bridge.publicUrl)
  await raw.login(login('42'))
  raw.send('41')
  await raw.closed
  await expect.poll(() => sessionsOf(bridge, '42')).toBe(0)
})

const foreign = ['https://evil.example', 'https://app.example.com.evil.example', 'http://app.example.com', 'https://app.example.com:8443', 'null', '']

test.each([
  ['none is configured', {}],
  ['others are configured', { ALLOWED_ORIGINS: 'https://app.example.com,https://shop.example.com' }],
])('a page of a foreign origin is refused on every transport when %s; stock Socket.IO lets it in', async (_, settings) => {
  await using stock = await startServerProcess('stock')
  await using harmed = await openRaw(stock.publicUrl, { origin: 'https://evil.example' })
  harmed.send('40')
  await harmed.packet('40')

  await using bridge = await startTestBridge(settings)
  for (const origin of foreign) {
    await expect(openRaw(bridge.publicUrl, { origin }), origin).rejects.toThrow(/40[03]/)
    const answer = await fetch(engine(bridge, 'transport=polling'), { headers: { origin } })
    expect([answer.status, answer.headers.get('access-control-allow-origin')], origin).toEqual([403, null])
    expect(await answer.text()).toContain('origin_denied')
  }
})

test('a page of an allowed origin connects on every transport, with the headers that its browser asks for', async () => {
  const origin = 'https://app.example.com'
  await using bridge = await startTestBridge({ ALLOWED_ORIGINS: `https://shop.example.com,${origin}` })
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    await using session = connectSession(bridge.publicUrl, { token: login('42'), transports, extraHeaders: { origin } })
    await session.notice('sidecast:ready')
  }
  const answer = await fetch(engine(bridge, 'transport=polling'), { headers: { origin } })
  expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
  expect(answer.headers.get('access-control-allow-credentials')).toBe('true')
  expect(answer.headers.get('vary')).toMatch(/origin/i)
  const preflight = await fetch(engine(bridge, 'transport=polling'), {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
  })
  expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, origin])
})

test('JSONP, by which a foreign page reads without an Origin, is not spoken', async () => {
  await using bridge = await startTestBridge()
  for (const query of ['transport=polling&j=0', 'j=0&transport=polling', 'transport=polling&%6a=0'])
    expect((await fetch(engine(bridge, query))).status).toBe(403)
})

test('a connection id that was not given out opens nothing', async () => {
  await using bridge = await startTestBridge()
  for (const sid of ['AAAAAAAAAAAAAAAAAAAA', '__proto__', 'constructor', 'toString', '%00', 'x'.repeat(4000)]) {
    for (const init of [{}, { method: 'POST', body: '40{}' }]) {
      const { status, text } = await poll(bridge, sid, init)
      expect([status, text]).toEqual([400, expect.stringContaining('Session ID unknown')])
    }
    const upgrade = new WebSocket(engine(bridge, `transport=websocket&sid=${sid}`).replace('http', 'ws'))
    await expect(once(upgrade, 'open')).rejects.toThrow('400')
  }
  await expectToServe(bridge)
})

test('a flood of requests to join is answered to the last, stores no more than its ration, and delays nobody', async () => {
  await using bridge = await startTestBridge()
  await using raw = await openRaw(bridge.publicUrl)
  await raw.login(login('42', { rooms: ['open:*'] }))
  const requests = 3000
  for (let id = 0; id < requests; id++)
    raw.send(`42${id}${JSON.stringify([id % 2 === 0 ? 'sidecast:join' : 'sidecast:leave', { room: `open:${id >> 1}` }])}`)
  await expectToServe(bridge)
  const answers = () => raw.packets.filter((packet) => packet.startsWith('43'))
  await raw.until(() => answers().length === requests)
  const accepted = answers().filter((packet) => packet.includes('"ok":true'))
  expect(answers().filter((packet) => packet.includes('"code":"rate_limited"') && packet.endsWith('"retry":true}}]'))).toHaveLength(
    requests - accepted.length,
  )
  expect(accepted.length).toBeGreaterThan(0)
  expect(accepted.length).toBeLessThan(requests / 2)
})

test('rooms that are not open to a session are refused one by one, as often as it asks', async () => {
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('42', { rooms: ['open:*'] }) })
  await session.notice('sidecast:ready')
  for (const room of ['closed', 'open', 'open:', 'open:a:b', 'OPEN:a', 'open.a', '*', '**', 'open:*:', 'sidecast:room', 'user:43', '__proto__'])
    expect(await session.request('sidecast:join', { room })).toMatchObject({ ok: false, error: { code: 'room_forbidden' } })
  expect(await session.request('sidecast:join', { room: 'open:a' })).toEqual({ ok: true, room: 'open:a' })
})

test('events that we do not know and acks that nobody asked for change nothing', async () => {
  await using bridge = await startTestBridge()
  await using raw = await openRaw(bridge.publicUrl)
  await raw.login(login('42'))
  raw.send(
    '42["nope",1]',
    '421["nope"]',
    '42[7]',
    '42["__proto__",{}]',
    '42["toString"]',
    '42["error",{}]',
    '42["sidecast:ready",{}]',
    '42["message",null]',
  )
  raw.send('43["x"]', '4399[]', '43123456789012345678901234567890[{"a":1}]', '42["sidecast:join",{"room":"a"},"b"]', '42["sidecast:leave"]')
  const bodies = [
    '',
    ',null',
    ',[]',
    ',"a"',
    ',1',
    ',{"room":null}',
    ',{"room":["a"]}',
    ',{"room":""}',
    ',{"room":"a\\u0000"}',
    `,{"room":"${'r'.repeat(201)}"}`,
  ]
  for (const [index, body] of bodies.entries()) {
    raw.send(`42${100 + index}["sidecast:join"${body}]`)
    expect(await raw.packet(`43${100 + index}`)).toBe(
      `43${100 + index}[{"ok":false,"error":{"code":"invalid_request","message":"The request is not valid.","retry":false}}]`,
    )
  }
  await bridge.publish({ event: 'still.here', to: { users: ['42'] } })
  await raw.packet('42["still.here"')
})

const deep = `${'['.repeat(8000)}${']'.repeat(8000)}`

test.each<[string, string]>([
  ['null', '42null'],
  ['an object', '42{"0":"sidecast:join"}'],
  ['a text', '42"sidecast:join"'],
  ['an empty list', '42[]'],
  ['a reserved name', '42["disconnect"]'],
  ['half a list', '42["sidecast:join",{'],
  ['nothing', '4'],
  ['an unknown type', '49'],
  ['a type that is no digit', '4x'],
  ['a refusal, which only servers send', '44{"message":"x"}'],
  ['a farewell with a body', '41{"x":1}'],
  ['a ping of the engine, which only servers send', '2'],
  ['an unknown packet of the engine', '9'],
  ['a binary packet in base64', 'bAAAA'],
  ['an event in another namespace', '42/admin,["sidecast:join",{"room":"a"}]'],
])('%s in place of an event closes the connection and nothing else', async (_, packet) => {
  await using bridge = await startTestBridge()
  await using raw = await openRaw(bridge.publicUrl)
  await raw.login(login('42'))
  raw.send(packet)
  await raw.closed
  await using stranger = await openRaw(bridge.publicUrl)
  stranger.send(packet)
  await stranger.closed
  await expectToServe(bridge)
})

test('nesting thousands of levels deep is refused where it says who it is, and ignored where it does not matter', async () => {
  await using bridge = await startTestBridge()
  await using stranger = await openRaw(bridge.publicUrl)
  stranger.send(`40{"token":${deep.slice(1000, -1000)}}`)
  expect(await stranger.packet('44')).toContain('token_missing')
  await using raw = await openRaw(bridge.publicUrl)
  await raw.login(login('42'))
  raw.send(`42["nope",${deep.slice(1000, -1000)}]`, `421["sidecast:join",${deep.slice(1000, -1000)}]`, `43${deep.slice(1000, -1000)}`)
  expect(await raw.packet('431')).toContain('invalid_request')
  await expectToServe(bridge)
})

test('a prototype in the handshake is neither a token nor anybody else’s prototype', async () => {
  await using bridge = await startTestBridge()
  const token = JSON.stringify(login('42'))
  for (const auth of [
    `{"__proto__":{"token":${token}}}`,
    `{"constructor":{"prototype":{"token":${token}}}}`,
    `{"token":{"toString":${token}}}`,
    `{"token":[${token}]}`,
  ]) {
    await using raw = await openRaw(bridge.publicUrl)
    raw.send(`40${auth}`)
    expect(await raw.packet('44')).toContain('token_missing')
  }
  expect(Reflect.get({}, 'token')).toBeUndefined()
})

test('the public listener has nothing but Socket.IO, whatever the key', async () => {
  await using bridge = await startTestBridge()
  const answer = (method: string, path: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const call = request(
        bridge.publicUrl,
        { method, path, headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' } },
        (response) => {
          response.resume()
          resolve(response.statusCode)
        },
      )
      call.on('error', reject).end(['POST', 'PUT'].includes(method) ? '{"event":"x","to":{"all":true}}' : undefined)
    })
  const paths = [
    '/',
    '/v1/events',
    '/v1/events/batch',
    '/v1/users/42',
    '/v1/users/42/disconnect',
    '/metrics',
    '/livez',
    '/readyz',
    '/docs',
    '/openapi.yaml',
    '//v1/events',
  ]
  const others = [
    '/socket.io/../v1/events',
    '/socket.io',
    '/SOCKET.IO/',
    '/socket.io/socket.io.js/../../v1/events',
    '/%2e%2e/v1/events',
    '/socket.io%2f',
    '*',
    bridge.privateUrl,
  ]
  for (const path of [...paths, ...others]) {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'PATCH']) {
      expect([400, 404], `${method} ${path}`).toContain(await answer(method, path))
    }
  }
  for (const path of paths) expect(await answer('POST', path)).toBe(404)
  expect(await (await fetch(`${bridge.publicUrl}/v1/events`, { method: 'POST' })).json()).toMatchObject({
    detail: expect.stringContaining('SIDECAST_PRIVATE_PORT'),
  })
  for (const method of ['TRACE', 'POST', 'DELETE', 'PROPFIND']) expect(await answer(method, '/socket.io/?EIO=4&transport=polling')).toBe(400)
  const tunnel = request(bridge.publicUrl, { method: 'CONNECT', path: new URL(bridge.privateUrl).host })
  await expect(once(tunnel.end(), 'connect')).rejects.toThrow()
  const upgrade = request(bridge.publicUrl, { path: '/v1/events', headers: { connection: 'upgrade', upgrade: 'websocket' } })
  await expect(once(upgrade.end(), 'upgrade')).rejects.toThrow()
  const { body } = await bridge.call('GET', '/v1/users/42/events')
  expect(body.events).toEqual([])
})

test('bytes that are no HTTP do not hurt the listener', async () => {
  await using bridge = await startTestBridge()
  const { port } = new URL(bridge.publicUrl)
  const host = 'Host: a\r\n'
  const pieces: readonly (string | Buffer)[] = [
    Buffer.from('16030100c8010000c40303', 'hex'),
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 131) % 256)),
    '\0\0\0\0\r\n\r\n',
    `GET /socket.io/?EIO=4&transport=polling HTTP/9.9\r\n${host}\r\n`,
    `GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n${host}X: ${'y'.repeat(100_000)}\r\n\r\n`,
    `GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n`,
    `POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`,
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 99\r\n\r\n`,
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
    `GET /socket.io/?${'%'.repeat(5000)} HTTP/1.1\r\n${host}\r\n`,
    `GET /socket.io/?EIO=4&transport=__proto__ HTTP/1.1\r\n${host}\r\n`,
    `GET /socket.io/?EIO=3&transport=polling HTTP/1.1\r\n${host}\r\n`,
    `GET /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\n${host}Origin: \x01\r\n\r\n`,
  ]
  for (const piece of pieces) {
    const socket = connect(Number(port), '127.0.0.1')
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.on('error', () => undefined).resume()
    socket.end(piece)
    await closed
  }
  await expectToServe(bridge)
})
