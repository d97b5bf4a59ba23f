import { expect, test } from 'vitest'
import { drain } from '../../src/gateway/drain.ts'
import { spread } from '../../src/gateway/spread.ts'
import { login } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { startWorkerBridge, workerOf } from '../workers/worker-bridge.ts'

/** How many moments fall into each of so many slices of a second. */
function counts(moments: readonly number[], slices: number): readonly number[] {
  const found = new Array<number>(slices).fill(0)
  for (const moment of moments) found[Math.floor((moment / 1000) * slices)] = (found[Math.floor((moment / 1000) * slices)] ?? 0) + 1
  return found
}

test('moments are even over the period, each anywhere in its slice, and in no order', () => {
  const moments = spread(1000, 1000, Math.random)
  expect(counts(moments, 10)).toEqual(new Array(10).fill(100))
  expect(counts(moments, 1000)).toEqual(new Array(1000).fill(1))
  expect(new Set(moments.map((moment) => moment % 1)).size).toBeGreaterThan(900)
  expect(moments.every((moment, index) => index === 0 || moment > (moments[index - 1] ?? 0))).toBe(false)
  // Four processes that begin at once are as even together.
  const together = Array.from({ length: 4 }, () => spread(250, 1000, Math.random)).flat()
  expect(counts(together, 10)).toEqual(new Array(10).fill(100))
})

test('without a period, or without anybody, there is nothing to spread', () => {
  expect(spread(3, 0, Math.random)).toEqual([0, 0, 0])
  expect(spread(0, 1000, Math.random)).toEqual([])
})

test('what a process that stood still is behind with is made up for at no more than twice the pace', async () => {
  const [count, periodMs] = [400, 1000]
  const moments: number[] = []
  setTimeout(() => {
    for (const end = performance.now() + 300; performance.now() < end; );
  }, 300)
  const drained = await drain(Array.from({ length: count }), periodMs, Math.random, () => moments.push(performance.now()))
  expect(moments).toHaveLength(count)
  const most = Math.max(...moments.map((from) => moments.filter((moment) => moment >= from && moment < from + 100).length))
  expect(most).toBeLessThanOrEqual((2 * 110 * count) / periodMs + 2)
  expect(drained.sessions).toBe(count)
  expect(drained.mostPer100Ms).toBeLessThanOrEqual(most)
})

test.each(['1', '2'])('a drain tells the clients one after the other, in no order, at all of %s processes at once', async (workers) => {
  await using bridge = await startWorkerBridge({ WORKERS: workers, DRAIN_PERIOD: '2s' })
  const count = 40
  const told: number[] = []
  const sessions = Array.from({ length: count }, (_, index) => {
    const session = connectSession(bridge.publicUrl, { token: login(`user-${index}`), reconnection: false })
    session.socket.on('sidecast:disconnect', ({ code }: { readonly code: string }) => code === 'draining' && told.push(index))
    return session
  })
  for (const session of sessions) await session.notice('sidecast:ready')
  const places = sessions.map((session) => (workers === '1' ? 1 : workerOf(session)))
  bridge.process.signal('SIGTERM')
  await Promise.race(sessions.map((session) => session.notice('sidecast:disconnect')))
  // When the first is told to go, most are still there.
  expect(told.length).toBeLessThan(count / 2)
  await Promise.all(sessions.map((session) => session.closed()))
  expect(told.toSorted((one, other) => one - other)).toEqual(Array.from({ length: count }, (_, index) => index))
  expect(told).not.toEqual(told.toSorted((one, other) => one - other))
  for (const half of [told.slice(0, count / 2), told.slice(count / 2)]) expect(new Set(half.map((index) => places[index])).size).toBe(Number(workers))
  expect(await bridge.process.ended).toEqual({ code: 0, signal: null })
})

test('in its lead a bridge is not ready, and serves whoever comes all the same', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '1', DRAIN_LEAD: '24d' })
  bridge.process.signal('SIGTERM')
  await bridge.eventually('/readyz', ({ failing }) => JSON.stringify(failing ?? []).includes('not_draining'))
  await using session = connectSession(bridge.publicUrl, { token: login('ada') })
  await session.notice('sidecast:ready')
  expect(await bridge.call('POST', '/v1/events', { event: 'late', to: { users: ['ada'] } })).toMatchObject({ status: 202, body: { matched: 1 } })
  expect(await session.event()).toMatchObject({ event: 'late' })
  bridge.process.signal('SIGTERM')
  expect(await bridge.process.ended).toEqual({ code: 0, signal: null })
})
