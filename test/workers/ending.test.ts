import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { freePorts } from '../support/free-ports.ts'
import { gone, startWorkerBridge, workerOf } from './worker-bridge.ts'

const pidOf = (pids: ReadonlyMap<number, number>, number: number): number => {
  const pid = pids.get(number)
  if (pid === undefined) throw new Error(`there is no worker ${number}`)
  return pid
}

/** A new connection with the first request of a client that polls: what comes of it. */
function answeredOrClosed(port: number): Promise<'answered' | 'closed'> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined).on('close', () => resolve('closed'))
    socket.on('data', () => {
      resolve('answered')
      socket.destroy()
    })
    socket.write('GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: bridge\r\n\r\n')
  })
}

test('the sessions of a worker that is killed go on at the others without a loss, and are counted once', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const sessions = Array.from({ length: 8 }, (_, index) =>
    connectSession(bridge.publicUrl, { token: login(`user-${index}`), transports: [index < 4 ? 'websocket' : 'polling'] }),
  )
  for (const session of sessions) await session.notice('sidecast:ready')
  const before = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  expect(before).toMatch(/^sidecast_sessions 8$/m)
  expect(before).toMatch(/^sidecast_sessions_opened_total 8$/m)

  process.kill(pidOf(await bridge.workerPids(), 1), 'SIGKILL')
  const number = (count: number) => bridge.call('POST', '/v1/events', { event: 'numbered', data: count, to: { all: true } })
  for (let count = 0; count < 50; count++) expect(await number(count)).toMatchObject({ status: 202 })
  await Promise.all(sessions.map((session) => session.event(50)))
  for (const { received, notices } of sessions) {
    expect(received.map(({ data }) => data)).toEqual(Array.from({ length: 50 }, (_, index) => index))
    expect(notices.slice(1).every(({ data }) => Object(data).recovered === true)).toBe(true)
  }
  expect(await number(50)).toMatchObject({ body: { matched: 8 } })
  await bridge.eventually('/readyz', ({ status }) => status === 'ok')
  // No counter goes back when a process is gone that has counted.
  const after = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  expect(after).toMatch(/^sidecast_sessions 8$/m)
  expect(Number(/^sidecast_sessions_opened_total (\d+)$/m.exec(after)?.[1])).toBeGreaterThan(8)
  expect(after).toMatch(/^sidecast_events_dispatched_total 51$/m)
  for (const { socket } of sessions) socket.disconnect()
  await bridge.eventually('/v1/users/user-0', ({ online }) => online === false)
})

test('a connection that a killed worker had not taken yet is closed, so that its client comes back at once', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const frozen = pidOf(await bridge.workerPids(), 1)
  process.kill(frozen, 'SIGSTOP')
  const port = Number(new URL(bridge.publicUrl).port)
  const settled = Array.from({ length: 6 }, () => answeredOrClosed(port))
  // They go to the worker with the least to do: some to the one that takes nothing.
  await Promise.race(settled)
  process.kill(frozen, 'SIGKILL')
  expect(await Promise.all(settled)).toContain('answered')
})

test('a worker that answers nothing any more is replaced', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', LOG_LEVEL: 'info' })
  await using session = connectSession(bridge.publicUrl, { token: login('ada') })
  await session.notice('sidecast:ready')
  const frozen = pidOf(await bridge.workerPids(), workerOf(session))
  process.kill(frozen, 'SIGSTOP')
  // Until somebody sees it, its clients get nothing; what they miss stands in the log.
  expect(await bridge.call('POST', '/v1/events', { event: 'missed', to: { users: ['ada'] } })).toMatchObject({ status: 202 })
  await bridge.process.said('it does not answer')
  await gone(frozen)
  expect(await session.event()).toMatchObject({ event: 'missed' })
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true } })
  await bridge.eventually('/readyz', ({ status }) => status === 'ok')
})

test('a signal to the whole group drains: every client is told, and all processes end', async () => {
  await using bridge = await startWorkerBridge({ DRAIN_PERIOD: '300ms' })
  const sessions = Array.from({ length: 9 }, (_, index) => connectSession(bridge.publicUrl, { token: login(`user-${index}`), reconnection: false }))
  for (const session of sessions) await session.notice('sidecast:ready')
  const workers = [...(await bridge.workerPids()).values()]
  expect(workers).toHaveLength(3)
  for (const pid of workers) process.kill(pid, 'SIGTERM')
  bridge.process.signal('SIGTERM')
  for (const session of sessions) expect(await session.notice('sidecast:disconnect')).toMatchObject({ data: { code: 'draining', retry: true } })
  expect(await bridge.process.ended).toEqual({ code: 0, signal: null })
  for (const pid of workers) await gone(pid)
})

test('workers end with their parent, also one that stands still, and clients resume at the next', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-workers-'))
  const [publicPort = 0, privatePort = 0] = await freePorts(2)
  const settings = { WORKERS: '2', PUBLIC_PORT: String(publicPort), PRIVATE_PORT: String(privatePort) }
  const first = await startWorkerBridge(settings, directory)
  await using session = connectSession(first.publicUrl, { token: login('ada', { rooms: ['page:*'] }) })
  await session.notice('sidecast:ready')
  expect(await session.request('sidecast:join', { room: 'page:1' })).toMatchObject({ ok: true })
  expect(await first.call('POST', '/v1/events', { event: 'before', to: { rooms: ['page:1'] } })).toMatchObject({ status: 202 })
  await session.event()
  const workers = await first.workerPids()
  const idle = pidOf(workers, workerOf(session) === 1 ? 2 : 1)
  process.kill(idle, 'SIGSTOP')
  first.process.signal('SIGKILL')
  await gone(pidOf(workers, workerOf(session)))

  await using second = await startWorkerBridge(settings, directory)
  process.kill(idle, 'SIGCONT')
  await gone(idle)
  await first.process.ended
  expect(await second.call('POST', '/v1/events', { event: 'after', to: { rooms: ['page:1'] } })).toMatchObject({ status: 202 })
  expect(await session.event(2)).toMatchObject({ event: 'after' })
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true, rooms: expect.arrayContaining(['page:1']) } })
  await second.process.kill()
  await rm(directory, { recursive: true })
})

test('one process is all there is unless workers are asked for', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '1' })
  expect(await bridge.workerPids()).toEqual(new Map())
  await using session = connectSession(bridge.publicUrl, { token: login('ada') })
  await session.notice('sidecast:ready')
  expect(session.socket.io.engine.id).not.toContain('.')
})
