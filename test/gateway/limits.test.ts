import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import type { Credentials } from '../../src/core/credentials.ts'
import { BridgeError } from '../../src/errors.ts'
import type { GatewayOptions } from '../../src/gateway/gateway.ts'
import { login as loginToken, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { stopClock } from '../support/clock.ts'
import { poll, pollLogin } from './poll.ts'
import { openRaw } from './raw-client.ts'
import { startGateway } from './start-gateway.ts'

/** A gateway whose tokens are names of users; `bad` is nobody's. It tells which credentials it saw. */
async function startNaming(overrides: Partial<GatewayOptions>) {
  const seen: Credentials[] = []
  const gateway = await startGateway(
    async (credentials) => {
      seen.push(credentials)
      const { token } = credentials
      if (token === undefined) throw new BridgeError('token_missing')
      if (token === 'bad') throw new BridgeError('token_signature')
      return { user: token, rooms: [], grants: [] }
    },
    { transports: ['websocket', 'polling'], ...overrides },
  )
  return { ...gateway, seen, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() }
}

/** Says who it is over a WebSocket of its own; the answer. */
async function say(url: string, packet: string, headers: Readonly<Record<string, string | readonly string[]>> = {}): Promise<string> {
  await using raw = await openRaw(url, headers)
  raw.send(packet)
  const isAnswer = (answer: string): boolean => /^4[04]/.test(answer)
  await raw.until(() => raw.packets.some(isAnswer))
  return raw.packets.find(isAnswer) ?? ''
}

test('an address has as many connections as it may, logged in or not, and another address has its own', async () => {
  await using gateway = await startNaming({ connectionsPerIp: 2 })
  await using stranger = await openRaw(gateway.url)
  await using session = connectSession(gateway.url, { token: '42' })
  await session.notice('sidecast:ready')
  const refusal = await poll(gateway.url)
  expect(refusal).toMatchObject({ status: 429, headers: { 'retry-after': '2', 'content-type': 'application/json' } })
  expect(JSON.parse(refusal.body)).toEqual({ code: 4, message: 'rate_limited', retry: true })
  const third = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`)
  const [, answer] = await once(third, 'unexpected-response')
  expect(answer).toMatchObject({ statusCode: 429, headers: { 'retry-after': '2' } })
  expect(JSON.parse(await text(answer))).toEqual({ code: 4, message: 'rate_limited', retry: true })
  expect((await poll(gateway.url, undefined, { from: '127.0.0.2' })).status).toBe(200)
  await stranger[Symbol.asyncDispose]()
  await expect.poll(async () => (await poll(gateway.url)).status).toBe(200)
  expect(await gateway.render()).toMatch(/sidecast_handshakes_refused_total\{code="rate_limited"\} [2-9]/)
})

test('connections that are asked for in one breath do not slip past the limit', async () => {
  await using gateway = await startNaming({ connectionsPerIp: 3 })
  const { port } = new URL(gateway.url)
  const socket = connect(Number(port), '127.0.0.1')
  const call = 'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n'
  let answered = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    answered += chunk
  })
  socket.write(call.repeat(50))
  await expect.poll(() => answered.split('HTTP/1.1 ').length - 1).toBe(50)
  socket.destroy()
  const sids = [...answered.matchAll(/"sid":"([^"]+)"/g)].map(([, sid]) => sid)
  const alive = await Promise.all(sids.map(async (sid) => (await poll(gateway.url, sid, { method: 'POST', body: '3' })).status === 200))
  expect(alive.filter(Boolean).length).toBeLessThanOrEqual(3)
})

test('clients that are gone before it is their turn end nothing but themselves', async () => {
  await using gateway = await startNaming({})
  const { port } = new URL(gateway.url)
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  const calls = [
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n`,
    'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n',
  ]
  const sockets = await Promise.all(
    Array.from({ length: 400 }, async () => {
      const socket = connect(Number(port), '127.0.0.1')
      await new Promise((resolve) => socket.once('connect', resolve))
      return socket
    }),
  )
  // All in one turn, half of them taken back at once.
  for (const [index, socket] of sockets.entries()) {
    socket.on('error', () => undefined)
    socket.write(calls[index % 2] ?? '')
    if (index % 4 < 2) socket.resetAndDestroy()
  }
  await using session = connectSession(gateway.url, { token: '42' })
  await session.notice('sidecast:ready')
  for (const socket of sockets) socket.destroy()
  expect(gateway.failures).toEqual([])
})

test('after a burst of refused logins an address is told to come later, without a look at its token; others are not', async () => {
  using clock = stopClock()
  await using gateway = await startNaming({ refusalsPerIp: 1 })
  for (let tries = 0; tries < 10; tries++) expect((await pollLogin(gateway.url, { token: 'bad' })).body).toContain('token_signature')
  const answers = await Promise.all(Array.from({ length: 20 }, () => pollLogin(gateway.url, { token: '42' })))
  expect(answers.filter(({ body }) => body.includes('rate_limited'))).toHaveLength(20)
  expect(gateway.seen).toHaveLength(10)
  expect((await pollLogin(gateway.url, { token: '42' }, { from: '127.0.0.2' })).body).toMatch(/^40/)
  // The bucket gains one place a second.
  clock.pass(999)
  expect((await pollLogin(gateway.url, { token: '42' })).body).toContain('rate_limited')
  clock.pass(1)
  expect((await pollLogin(gateway.url, { token: '42' })).body).toMatch(/^40/)
})

test('a flood from many addresses, each within its limit, closes the door to these and to nobody else', async () => {
  using _ = stopClock()
  await using gateway = await startNaming({ refusalsPerIp: 1 })
  const network = (index: number) => ({ from: `127.0.1.${index + 1}` })
  for (let index = 0; index < 40; index++) expect((await pollLogin(gateway.url, { token: 'bad' }, network(index))).body).toContain('token_signature')
  const again = await Promise.all(Array.from({ length: 40 }, (_, index) => pollLogin(gateway.url, { token: 'bad' }, network(index))))
  expect(again.filter(({ body }) => body.includes('rate_limited'))).toHaveLength(40)
  expect((await pollLogin(gateway.url, { token: '42' }, { from: '127.0.0.2' })).body).toMatch(/^40/)
})

test('connections that were opened before the burst are held to it as well, and told so', async () => {
  using _ = stopClock()
  await using gateway = await startNaming({ refusalsPerIp: 1 })
  await using strangers = new AsyncDisposableStack()
  const raws = await Promise.all(Array.from({ length: 30 }, () => openRaw(gateway.url)))
  for (const raw of raws) strangers.use(raw)
  for (const raw of raws) raw.send('40{"token":"bad"}')
  const answers = await Promise.all(raws.map(async (raw) => JSON.parse((await raw.packet('44')).slice(2)).data))
  expect(answers).toContainEqual({ code: 'rate_limited', message: 'Too many requests.', retry: true })
  expect(gateway.seen.length).toBeLessThan(30)
})

test('who may try again because a key may be new, and does so all the time, is told to come later', async () => {
  using _ = stopClock()
  await using gateway = await startGateway(
    async () => {
      throw new BridgeError('unavailable', 'the key may be newer', { suspect: true })
    },
    { refusalsPerIp: 1, transports: ['polling'] },
  )
  const bodies: string[] = []
  for (let tries = 0; tries < 20; tries++) bodies.push((await pollLogin(gateway.url, { token: 'junk' })).body)
  expect(bodies[0]).toContain('unavailable')
  expect(bodies.filter((body) => body.includes('rate_limited'))).toHaveLength(10)
})

test('who is refused for a reason of ours has no refusals counted', async () => {
  let failing = true
  await using gateway = await startGateway(
    async () => {
      if (failing) throw new BridgeError('unavailable')
      return { user: '42', rooms: [], grants: [] }
    },
    { refusalsPerIp: 1 },
  )
  for (let tries = 0; tries < 30; tries++) expect(await say(gateway.url, '40')).toContain('unavailable')
  failing = false
  expect(await say(gateway.url, '40')).toMatch(/^40/)
})

const overProxies = async (trustedProxies: readonly string[], headers: Readonly<Record<string, string | readonly string[]>>) => {
  await using gateway = await startNaming({ trustedProxies })
  await say(gateway.url, '40{"token":"42"}', headers)
  return gateway.seen[0]?.address
}

test.each<[string, readonly string[], string | readonly string[], string]>([
  ['nobody is trusted', [], '203.0.113.7', '127.0.0.1'],
  ['the peer is not trusted', ['10.0.0.0/8'], '203.0.113.7', '127.0.0.1'],
  ['the peer is trusted', ['127.0.0.1'], '203.0.113.7', '203.0.113.7'],
  ['the client invents what stands to its left', ['loopback'], '198.51.100.1, 127.0.0.1, 203.0.113.7', '203.0.113.7'],
  ['there is a chain of trusted proxies', ['loopback', 'private'], '198.51.100.1, 203.0.113.7, 10.1.2.3, 192.168.7.7', '203.0.113.7'],
  ['the client sends a header of its own', ['loopback', 'private'], ['198.51.100.1', '203.0.113.7, 10.1.2.3'], '203.0.113.7'],
  ['all are trusted', ['loopback', 'private'], '10.0.0.1, 10.0.0.2', '10.0.0.1'],
  ['the last is no address', ['loopback'], '203.0.113.7, unknown', '127.0.0.1'],
  ['there is rubbish before a trusted one', ['loopback', 'private'], '203.0.113.7, <script>, 10.0.0.2', '10.0.0.2'],
  ['it is empty', ['loopback'], '', '127.0.0.1'],
  ['there are only commas', ['loopback'], ',,,,', '127.0.0.1'],
  ['there is a port', ['loopback'], '203.0.113.7:51234', '203.0.113.7'],
  ['it is IPv6', ['loopback'], '2001:db8::1', '2001:db8::1'],
  ['it is IPv6 with a port', ['loopback'], '[2001:db8::1]:443', '2001:db8::1'],
  ['it is IPv4 as IPv6 has it', ['loopback'], '::ffff:203.0.113.7', '203.0.113.7'],
  ['a trusted proxy is IPv4 as IPv6 has it', ['loopback', '203.0.113.0/24'], '198.51.100.1, ::ffff:203.0.113.7', '198.51.100.1'],
  ['a trusted network is IPv6', ['loopback', '2001:db8::/32'], '198.51.100.1, 2001:db8:5::9', '198.51.100.1'],
  ['it is thousands of entries long', ['loopback', 'private'], `198.51.100.1,${'10.0.0.1,'.repeat(1500)}10.0.0.2`, '198.51.100.1'],
])('the address of a client behind proxies is known, and cannot be invented, when %s', async (_, trusted, header, address) => {
  expect(await overProxies(trusted, { 'x-forwarded-for': header })).toBe(address)
})

test('the header Forwarded is not believed: a proxy that writes X-Forwarded-For passes it on as it came', async () => {
  expect(await overProxies(['loopback'], { forwarded: 'for=198.51.100.1', 'x-forwarded-for': '203.0.113.7' })).toBe('203.0.113.7')
  expect(await overProxies(['loopback'], { forwarded: 'for=198.51.100.1' })).toBe('127.0.0.1')
})

test('limits count by the client behind a trusted proxy, all addresses of one IPv6 network together', async () => {
  await using gateway = await startNaming({ trustedProxies: ['loopback'], connectionsPerIp: 2 })
  const statuses = async (...addresses: readonly string[]) => {
    const all: number[] = []
    for (const address of addresses) all.push((await poll(gateway.url, undefined, { headers: { 'x-forwarded-for': address } })).status)
    return all
  }
  expect(await statuses('203.0.113.1', '203.0.113.1', '203.0.113.1', '203.0.113.2')).toEqual([200, 200, 429, 200])
  expect(await statuses('2001:db8:0:1::1', '2001:DB8:0:1:ffff::2', '2001:db8::1:0:0:0:3', '2001:db8:0:2::1')).toEqual([200, 200, 429, 200])
  expect(await statuses('198.51.100.1', '9.9.9.9, 198.51.100.1', '8.8.8.8, 198.51.100.1')).toEqual([200, 200, 429])
})

test('a token may stand where Laravel Echo puts it, and in cookies that split it', async () => {
  await using gateway = await startNaming({
    tokenSources: [{ kind: 'auth' }, { kind: 'cookie', names: ['jwt_hp', 'jwt_s'] }],
    allowedOrigins: ['https://a.example'],
  })
  const token = async (auth: unknown, headers: Readonly<Record<string, string>> = {}) => {
    await say(gateway.url, `40${JSON.stringify(auth)}`, headers)
    return gateway.seen.at(-1)?.token
  }
  const origin = 'https://a.example'
  expect(await token({ headers: { Authorization: 'Bearer echo' } })).toBe('echo')
  expect(await token({ token: 'first', headers: { Authorization: 'Bearer second' } })).toBe('first')
  expect(await token({ headers: { Authorization: 'Basic eDp5' } })).toBeUndefined()
  expect(await token({ headers: [] })).toBeUndefined()
  expect(await token({}, { origin, cookie: 'jwt_s=sig; x=y; jwt_hp=head.claims; jwt_hp=other' })).toBe('head.claims.sig')
  expect(await token({}, { origin, cookie: 'jwt_hp=head.claims' })).toBeUndefined()
  expect(await token({}, { origin, cookie: 'jwt_hp=head.claims; jwt_s=' })).toBeUndefined()
})

test('a cookie is read only for a page of an allowed origin', async () => {
  await using gateway = await startNaming({
    tokenSources: [{ kind: 'cookie', names: ['jwt'] }],
    allowedOrigins: ['https://a.example'],
    forward: ['cookie'],
  })
  const cookie = 'jwt=42'
  const seen = async (headers: Readonly<Record<string, string>>) => {
    await say(gateway.url, '40', headers)
    const last = gateway.seen.at(-1)
    return { token: last?.token, forwarded: last?.forwarded }
  }
  const read = { token: '42', forwarded: { cookie } }
  const unread = { token: undefined, forwarded: {} }
  expect(await seen({ cookie, origin: 'https://a.example' })).toEqual(read)
  // Browsers send no Origin when a page polls its own origin; they send this, and let no script write it.
  expect(await seen({ cookie, 'sec-fetch-site': 'same-origin' })).toEqual(read)
  expect(await seen({ cookie })).toEqual(unread)
  expect(await seen({ cookie, 'sec-fetch-site': 'same-site' })).toEqual(unread)
  expect(await seen({ cookie, 'sec-fetch-site': 'cross-site' })).toEqual(unread)
  const asked = gateway.seen.length
  for (const origin of ['https://a.example.evil.example', 'null', 'http://a.example']) {
    expect((await poll(gateway.url, undefined, { headers: { cookie, origin } })).status).toBe(403)
    await expect(openRaw(gateway.url, { cookie, origin })).rejects.toThrow('403')
  }
  expect(gateway.seen.length).toBe(asked)
})

test('only the headers that are named are handed on, and a login without a token is for the application to decide', async () => {
  const seen: Credentials[] = []
  await using gateway = await startGateway(
    async (credentials) => {
      seen.push(credentials)
      return { user: credentials.forwarded['x-session'] ?? '', rooms: [], grants: [] }
    },
    { forward: ['authorization', 'x-session'], tokenSources: [{ kind: 'auth' }] },
  )
  await using session = connectSession(gateway.url, { extraHeaders: { 'x-session': 'opaque', 'x-other': 'no', cookie: 'a=b' } })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: 'opaque' })
  expect(seen).toEqual([{ forwarded: { 'x-session': 'opaque' }, address: '127.0.0.1' }])
  const [live] = gateway.hub.sessions()
  expect(live?.connection.forwarded).toEqual({ 'x-session': 'opaque' })
})

test('a user has as many sessions as allowed, and the next is told to try again later', async () => {
  await using bridge = await startTestBridge({ SESSIONS_PER_USER: '1' })
  await using first = connectSession(bridge.publicUrl, { token: loginToken('42') })
  await first.notice('sidecast:ready')
  await using second = connectSession(bridge.publicUrl, { token: loginToken('42') })
  expect(await second.refused()).toMatchObject({ code: 'session_limit', retry: true })
})

test('logins of one user that are all verified in the same moment do not get past the limit', async () => {
  const release = Promise.withResolvers<void>()
  let asked = 0
  await using gateway = await startGateway(
    async () => {
      if (++asked === 12) release.resolve()
      await release.promise
      return { user: '42', rooms: [], grants: [] }
    },
    { sessionsPerUser: 5 },
  )
  await using sessions = new AsyncDisposableStack()
  const all = Array.from({ length: 12 }, () => sessions.use(connectSession(gateway.url, { token: 'any', reconnection: false })))
  const outcomes = await Promise.all(
    all.map((session) => Promise.race([session.notice('sidecast:ready').then(() => 'open'), session.refused().then(({ code }) => code)])),
  )
  expect(outcomes.toSorted()).toEqual([...Array(5).fill('open'), ...Array(7).fill('session_limit')])
  // A place that was kept is given up with the connection step: whoever leaves makes room for the next.
  all[outcomes.indexOf('open')]?.socket.disconnect()
  await expect.poll(() => gateway.hub.sessions().size).toBe(4)
  await using next = connectSession(gateway.url, { token: 'any' })
  await next.notice('sidecast:ready')
})

test('a place is not kept for a client that is gone before it is connected', async () => {
  const asked = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  let logins = 0
  await using gateway = await startGateway(
    async () => {
      asked.resolve()
      if (++logins === 1) await release.promise
      return { user: '42', rooms: [], grants: [] }
    },
    { sessionsPerUser: 1 },
  )
  const gone = connectSession(gateway.url, { token: 'any', reconnection: false })
  await asked.promise
  gone.cut()
  await expect.poll(gateway.connections).toBe(0)
  release.resolve()
  await using session = connectSession(gateway.url, { token: 'any' })
  await session.notice('sidecast:ready')
})
