import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { startWorkerBridge, workerOf } from './worker-bridge.ts'

const transports = [['websocket'], ['polling'], ['polling', 'websocket']] as const

async function connectMany(url: string, count: number): Promise<readonly TestSession[]> {
  const sessions = Array.from({ length: count }, (_, index) =>
    connectSession(url, { token: login(`user-${index}`, { rooms: ['hall'] }), transports: [...(transports[index % 3] ?? [])] }),
  )
  for (const session of sessions) await session.notice('sidecast:ready')
  return sessions
}

function open(url: string): Socket {
  return connect({ host: '127.0.0.1', port: Number(new URL(url).port) })
}

test('clients of every transport are spread over the workers, and each stays with its own', async () => {
  await using bridge = await startWorkerBridge({ ALLOWED_ORIGINS: 'http://app.example' })
  const sessions = await connectMany(bridge.publicUrl, 12)
  expect(new Set(sessions.map(workerOf))).toEqual(new Set([1, 2, 3]))
  for (const [index, { socket }] of sessions.entries()) {
    if (index % 3 !== 2) continue
    if (socket.io.engine.transport.name !== 'websocket') await new Promise((resolve) => socket.io.engine.once('upgrade', resolve))
    expect(socket.io.engine.transport.name).toBe('websocket')
  }

  const published = await bridge.call('POST', '/v1/events', { event: 'opened', data: { n: 1 }, to: { rooms: ['hall'] } })
  expect(published).toMatchObject({ status: 202, body: { matched: 12 } })
  for (const session of sessions) expect(await session.event()).toEqual({ event: 'opened', data: { n: 1 }, offset: published.body.offset })
  for (let round = 0; round < 20; round++) await bridge.call('POST', '/v1/events', { event: 'more', to: { all: true }, volatile: round % 2 === 0 })
  for (const session of sessions) {
    await session.event(21)
    expect(session.notices.map(({ event }) => event)).toEqual(['sidecast:ready'])
  }
  expect(await bridge.call('GET', '/v1/rooms/hall')).toMatchObject({ body: { sessions: 12, users: expect.arrayContaining(['user-0', 'user-11']) } })
  await bridge.eventually('/v1/users/user-2', (body) => Object(body.sessions)[0]?.transport === 'websocket')
  for (const { socket } of sessions) socket.disconnect()
  await bridge.eventually('/v1/rooms/hall', ({ sessions: left }) => left === 0)
})

test('a request that arrives in crumbs finds its worker', async () => {
  await using bridge = await startWorkerBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('ada'), transports: ['websocket'] })
  await session.notice('sidecast:ready')
  const client = open(bridge.publicUrl)
  const request = 'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n'
  for (const letter of request) {
    client.write(letter)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const answer = await text(client)
  expect(answer).toMatch(/^HTTP\/1.1 200 /)
  expect(answer).toMatch(/"sid":"[123]\.[\w-]{20}"/)
})

test('a connection never carries a request of another session to a worker that does not have it', async () => {
  await using bridge = await startWorkerBridge()
  const first = open(bridge.publicUrl)
  const handshake = 'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n'
  // The second one goes out with the first.
  first.write(handshake + handshake)
  const answers = await text(first)
  expect(answers).toMatch(/^connection: close/im)
  expect(answers.match(/"sid"/g)).toHaveLength(1)
})

test('whoever names a worker that is not there, or no session of it, is told so', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  for (const sid of ['7.nothing', '99.x', '1.nothing', 'x']) {
    const response = await fetch(`${bridge.publicUrl}/socket.io/?EIO=4&transport=polling&sid=${sid}`)
    expect({ status: response.status, body: await response.json() }).toMatchObject({ status: 400, body: { code: 1 } })
  }
  expect((await fetch(`${bridge.publicUrl}/v1/events`)).status).toBe(404)
})

test('whoever connects and says nothing, or too much, is sent away, and the others are served meanwhile', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const silent = Array.from({ length: 50 }, () => open(bridge.publicUrl))
  const closed = Promise.all(silent.map((client) => once(client.resume(), 'close')))
  for (const client of silent) client.write('GET /socket.io/?EIO=4')
  const endless = open(bridge.publicUrl)
  endless.write(`GET /${'x'.repeat(20_000)}`)
  expect(await text(endless)).toMatch(/^HTTP\/1.1 431 /)
  await using session = connectSession(bridge.publicUrl, { token: login('ada'), transports: ['polling'] })
  await session.notice('sidecast:ready')
  await closed
})
