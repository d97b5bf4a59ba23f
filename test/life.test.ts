import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { newFolder } from './log/folders.ts'
import { openEmbedded } from './log/open-embedded.ts'
import { apiKey, callIngress, login } from './support/bridge.ts'
import { BridgeProcess } from './support/bridge-process.ts'
import { connectSession, type TestSession } from './support/client.ts'
import { freePorts } from './support/free-ports.ts'

const failOnSignal = fileURLToPath(new URL('support/fail-on-signal.ts', import.meta.url))

/** A bridge that is ready, on ports and data that another one can take over. */
async function startBridge(
  settings: Readonly<Record<string, string>> = {},
  place?: { readonly directory: string; readonly ports: Readonly<Record<string, string>> },
  nodeOptions: readonly string[] = [],
) {
  const [publicPort, privatePort] = place === undefined ? await freePorts(2) : []
  const here = place ?? { directory: newFolder(), ports: { PUBLIC_PORT: String(publicPort), PRIVATE_PORT: String(privatePort) } }
  const bridge = new BridgeProcess({ ...here.ports, ...settings }, { directory: here.directory, nodeOptions })
  const { publicUrl, privateUrl } = await bridge.ready()
  const call = (method: string, path: string, body?: unknown) => callIngress(privateUrl, method, path, body)
  return { bridge, publicUrl, privateUrl, place: here, call }
}

const positionOf = (offset: unknown): number => Number(String(offset).split('-')[1])

const failing = (name: string) => ({ status: 503, body: { failing: expect.arrayContaining([expect.objectContaining({ name })]) } })

/** Asks until the answer is as it has to be; the test runner bounds the wait. */
async function becomes<T>(ask: () => Promise<T>, holds: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask()
    if (holds(answer)) return answer
  }
}

/** The four kinds of clients that a browser may be, each with what it has to be told. */
async function connectFour(url: string): Promise<readonly TestSession[]> {
  const sessions = (['websocket', 'websocket', 'polling', 'polling'] as const).map((transport, index) =>
    connectSession(url, { token: login(`user ${index}`), transports: [transport] }),
  )
  await Promise.all(sessions.map((session) => session.notice('sidecast:ready')))
  return sessions
}

/** A publish whose body is not whole yet, although the bridge has taken it up. */
async function beginPublishing(url: string, event: object) {
  const body = JSON.stringify(event)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  let answer = ''
  const closed = once(socket, 'close')
  const taken = new Promise<void>((resolve) =>
    socket.setEncoding('utf8').on('data', (text: string) => {
      answer += text
      resolve()
    }),
  )
  const head = ['POST /v1/events HTTP/1.1', 'host: bridge', `authorization: Bearer ${apiKey}`, 'content-type: application/json']
  socket.write(`${[...head, `content-length: ${Buffer.byteLength(body)}`, 'expect: 100-continue', 'connection: close'].join('\r\n')}\r\n\r\n`)
  await taken
  socket.write(body.slice(0, 5))
  return {
    async finish(): Promise<string> {
      socket.write(body.slice(5))
      await closed
      return answer.slice(answer.lastIndexOf('\r\n\r\n') + 4)
    },
  }
}

async function occupyPort(): Promise<{ readonly port: string; readonly free: () => void }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: String((server.address() as AddressInfo).port), free: () => void server.close() }
}

describe('a bridge that cannot start says why, without a stack trace, and ends', () => {
  async function failToStart(settings: Readonly<Record<string, string>>, directory = newFolder()) {
    const bridge = new BridgeProcess(settings, { directory })
    const { code, signal } = await bridge.ended
    const output = bridge.lines.join('\n')
    expect(output).not.toMatch(/^\s+at .*:\d+/m)
    expect(output).not.toContain('"stack"')
    expect(signal).toBeNull()
    return { code, output }
  }

  test.each(['PUBLIC', 'PRIVATE'])('when the %s port is in use', async (listener) => {
    const { port, free } = await occupyPort()
    const directory = newFolder()
    const { code, output } = await failToStart({ [`${listener}_PORT`]: port }, directory)
    expect(code).toBe(1)
    expect(output).toMatch(
      new RegExp(
        `"code":"listen_failed".*cannot start: the ${listener.toLowerCase()} listener cannot open 127.0.0.1:${port} \\(EADDRINUSE\\): .* or set SIDECAST_${listener}_PORT`,
      ),
    )
    expect(output.match(/EADDRINUSE/g)).toHaveLength(1)
    free()
    // It has given the data back.
    await openEmbedded(directory)
  })

  test('when the data folder is in use', async () => {
    const directory = newFolder()
    await openEmbedded(directory)
    const { code, output } = await failToStart({}, directory)
    expect(code).toBe(1)
    expect(output).toMatch(/"code":"log_in_use".*cannot start: /)
    expect(output).toContain(directory)
  })

  test('when the log is damaged', async () => {
    const directory = newFolder()
    const { log } = await openEmbedded(directory)
    await log.close()
    const file = join(directory, 'log.mdb')
    writeFileSync(file, readFileSync(file).subarray(0, 5000))
    const { code, output } = await failToStart({}, directory)
    expect(code).toBe(1)
    expect(output).toMatch(/"code":"log_damaged".*cannot start: /)
    expect(output).toContain(directory)
  })

  test('when the data folder cannot be made', async () => {
    const directory = newFolder()
    writeFileSync(directory, 'a file')
    const { code, output } = await failToStart({}, directory)
    expect(code).toBe(1)
    expect(output).toMatch(/"code":"log_foreign".*cannot start: /)
  })

  test('when the configuration is wrong, with another exit code', async () => {
    const { code, output } = await failToStart({ JWT_SECRET: 'short', PUBLIC_PORT: 'none' })
    expect(code).toBe(2)
    expect(output).toContain('SIDECAST_JWT_SECRET')
    expect(output).toContain('SIDECAST_PUBLIC_PORT')
  })
})

describe('a bridge that has started', () => {
  test('says where it listens, what is closed, and which origin is missing from the configuration, in so many lines', async () => {
    const { bridge, publicUrl } = await startBridge()
    expect(JSON.parse(await bridge.said('"msg":"ready"'))).toMatchObject({ bound: { public: publicUrl.replace('http://', '') } })
    expect(JSON.parse(await bridge.said('SIDECAST_ALLOWED_ORIGINS is not set'))).toMatchObject({ level: 40 })
    const knock = (origin: string) => fetch(`${publicUrl}/socket.io/?EIO=4&transport=polling`, { headers: { origin } })
    expect((await knock('https://shop.example.com')).status).toBe(403)
    expect(JSON.parse(await bridge.said('origin_denied'))).toMatchObject({
      msg: 'login refused',
      reason: 'the origin https://shop.example.com is not in SIDECAST_ALLOWED_ORIGINS',
    })
    await Promise.all(Array.from({ length: 50 }, () => knock(`https://${'x'.repeat(5000)}.example`)))
    await bridge.kill()
    const refusals = bridge.lines.filter((line) => line.includes('origin_denied'))
    // Ten a second.
    expect(refusals.length).toBeLessThan(50)
    for (const line of refusals) expect(line.length).toBeLessThan(500)
  })
})

describe('a bridge that is told to stop', () => {
  test('sends its clients elsewhere one after the other, finishes what it had begun, and its successor goes on without loss', async () => {
    const { bridge, publicUrl, privateUrl, place, call } = await startBridge({ DRAIN_PERIOD: '3s' })
    const sessions = await connectFour(publicUrl)
    expect(await call('POST', '/v1/events', { event: 'before', to: { all: true } })).toMatchObject({ status: 202, body: { matched: 4 } })
    await Promise.all(sessions.map((session) => session.event(1)))
    const inFlight = await beginPublishing(privateUrl, { event: 'in.flight', to: { all: true } })

    bridge.signal('SIGTERM')
    expect(
      await becomes(
        () => call('GET', '/readyz'),
        ({ status }) => status === 503,
      ),
    ).toMatchObject(failing('not_draining'))
    expect(sessions.filter(({ socket }) => socket.connected).length).toBeGreaterThan(0)
    expect(await call('GET', '/livez')).toMatchObject({ status: 200 })
    expect(await call('POST', '/v1/events', { event: 'late', to: { all: true } })).toMatchObject({ status: 503, body: { code: 'draining' } })
    const knocked = await fetch(`${publicUrl}/socket.io/?EIO=4&transport=polling`)
    expect([knocked.status, knocked.headers.get('retry-after')]).toEqual([503, '2'])
    expect(await knocked.json()).toEqual({ code: 4, message: 'draining', retry: true })
    const newcomer = connectSession(publicUrl, { token: login('newcomer'), reconnection: false })
    await new Promise((resolve) => newcomer.socket.once('connect_error', resolve))
    expect(newcomer.notices).toEqual([])

    expect(JSON.parse(await inFlight.finish())).toMatchObject({ duplicate: false })
    // When the first is told to go, the last is still there.
    await Promise.race(sessions.map((session) => session.notice('sidecast:disconnect')))
    expect(sessions.filter(({ notices }) => notices.some(({ event }) => event === 'sidecast:disconnect')).length).toBeLessThan(sessions.length)
    const farewells = await Promise.all(sessions.map((session) => session.notice('sidecast:disconnect')))
    for (const { data } of farewells) expect(data).toEqual({ code: 'draining', message: expect.any(String), retry: true })
    expect(await bridge.ended).toEqual({ code: 0, signal: null })

    // What it leaves behind is whole, and nobody holds it.
    const { log } = await openEmbedded(place.directory)
    await log.close()
    await using next = (await startBridge({}, place)).bridge
    expect(next.lines).not.toEqual([])
    expect(await call('POST', '/v1/events', { event: 'after', to: { all: true } })).toMatchObject({ status: 202 })
    for (const session of sessions) {
      await session.event(3)
      expect(session.received.map(({ event }) => event)).toEqual(['before', 'in.flight', 'after'])
      expect(session.socket.recovered).toBe(true)
      expect(session.socket.connected).toBe(true)
      session.socket.disconnect()
    }
  })

  test('ends at once when it is told twice, and what was accepted is there', async () => {
    const { bridge, publicUrl, place, call } = await startBridge({ DRAIN_PERIOD: '24d' })
    const sessions = await connectFour(publicUrl)
    const { body } = await call('POST', '/v1/events', { event: 'kept', to: { all: true } })
    bridge.signal('SIGTERM')
    await becomes(
      () => call('GET', '/readyz'),
      ({ status }) => status === 503,
    )
    bridge.signal('SIGTERM')
    expect(await bridge.ended).toEqual({ code: 0, signal: null })
    const { log } = await openEmbedded(place.directory)
    expect(log.head()).toBe(positionOf(body.offset))
    for (const session of sessions) session.socket.disconnect()
  })

  test('while it is starting ends as well, and can be started again', async () => {
    const directory = newFolder()
    const bridge = new BridgeProcess({}, { directory })
    // From here on it opens things that have to be closed.
    while (!existsSync(join(directory, 'log.mdb'))) await setImmediate()
    bridge.signal('SIGTERM')
    expect(await bridge.ended).toEqual({ code: 0, signal: null })
    await openEmbedded(directory)
  })

  test('by Ctrl-C does the same', async () => {
    const { bridge } = await startBridge()
    bridge.signal('SIGINT')
    expect(await bridge.ended).toEqual({ code: 0, signal: null })
  })
})

describe('a failure that nobody caught', () => {
  test.each([
    ['SIGUSR2', 'a promise that nobody looks at'],
    ['SIGHUP', 'a throw that nobody catches'],
  ] as const)('is logged, drains, and ends the process with an error (%s: %s)', async (signal, message) => {
    const { bridge, publicUrl, place } = await startBridge({}, undefined, ['--import', failOnSignal])
    const sessions = await connectFour(publicUrl)
    bridge.signal(signal)
    const farewells = await Promise.all(sessions.map((session) => session.notice('sidecast:disconnect')))
    for (const { data } of farewells) expect(data).toMatchObject({ code: 'draining', retry: true })
    expect(await bridge.ended).toEqual({ code: 1, signal: null })
    expect(bridge.lines.find((line) => line.includes(message))).toContain('"level":60')
    await openEmbedded(place.directory)
    for (const session of sessions) session.socket.disconnect()
  })
})

describe('a bridge that was killed', () => {
  test('goes on with its epoch, offsets, ids, memberships and the rooms that sessions asked for', async () => {
    const first = await startBridge()
    const { place, publicUrl, call } = first
    await using session = connectSession(publicUrl, { token: login('7', { rooms: ['page:*'] }) })
    await session.notice('sidecast:ready')
    expect(await session.request('sidecast:join', { room: 'page:1' })).toMatchObject({ ok: true })
    expect(await call('PUT', '/v1/rooms/team/users/7')).toMatchObject({ status: 202 })
    const event = { id: 'order-1', event: 'order', to: { rooms: ['page:1', 'team'] } }
    const published = await call('POST', '/v1/events', event)
    expect(published).toMatchObject({ status: 202, body: { duplicate: false, matched: 1 } })
    await session.event(1)
    await first.bridge.kill()

    await using second = (await startBridge({}, place)).bridge
    expect(second.lines).not.toEqual([])
    expect(await call('POST', '/v1/events', event)).toMatchObject({ status: 202, body: { duplicate: true, offset: published.body.offset } })
    expect(await call('POST', '/v1/events', { ...event, event: 'other' })).toMatchObject({ status: 422, body: { code: 'id_reused' } })
    const ready = await session.notice('sidecast:ready', 2)
    expect(ready.data).toMatchObject({ recovered: true, rooms: expect.arrayContaining(['page:1', 'team']) })
    const next = await call('POST', '/v1/events', { event: 'next', to: { rooms: ['page:1'] } })
    expect(next.body).toMatchObject({ matched: 1 })
    expect(positionOf(next.body.offset)).toBe(positionOf(published.body.offset) + 1)
    await session.event(2)
    expect(session.received.map(({ event }) => event)).toEqual(['order', 'next'])
  })
})

describe('a full disk', () => {
  test('refuses what cannot be stored, keeps the sessions, and is over when there is room', async () => {
    const { bridge, publicUrl, privateUrl, place, call } = await startBridge()
    await using session = connectSession(publicUrl, { token: login('7') })
    await session.notice('sidecast:ready')
    const limit = (bytes: number | 'unlimited') => execFileSync('prlimit', [`--fsize=${bytes}:`, '--pid', String(bridge.child.pid)])
    const accepted: unknown[] = []
    const publish = async () => {
      const response = await fetch(`${privateUrl}/v1/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
        body: JSON.stringify({ event: 'filling', data: 'x'.repeat(50_000), to: { users: ['7'] } }),
      })
      const body: unknown = await response.json()
      if (response.status === 202) accepted.push(Object(body).offset)
      return { status: response.status, retryAfter: response.headers.get('retry-after'), body }
    }
    expect(await publish()).toMatchObject({ status: 202 })

    limit(readFileSync(join(place.directory, 'log.mdb')).length)
    const refused = await becomes(publish, ({ status }) => status !== 202)
    expect(refused).toMatchObject({ status: 503, retryAfter: expect.stringMatching(/^\d+$/), body: { code: 'log_unavailable' } })
    expect(await call('GET', '/readyz')).toMatchObject(failing('log'))
    expect(await call('GET', '/livez')).toMatchObject({ status: 200 })
    expect(await call('GET', '/v1/users/7')).toMatchObject({ body: { online: true } })
    expect(session.socket.connected).toBe(true)

    limit('unlimited')
    await becomes(
      () => call('GET', '/readyz'),
      ({ status }) => status === 200,
    )
    expect(await publish()).toMatchObject({ status: 202 })
    await session.event(accepted.length)
    expect(session.received.map(({ offset }) => offset)).toEqual(accepted)
    expect(session.notices.map(({ event }) => event)).toEqual(['sidecast:ready'])
    bridge.signal('SIGTERM')
    expect(await bridge.ended).toEqual({ code: 0, signal: null })
  })
})
