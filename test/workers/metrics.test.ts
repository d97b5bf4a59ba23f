import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { startRedis } from '../support/redis.ts'
import { gone, startWorkerBridge, type WorkerBridge, workerOf } from './worker-bridge.ts'

/** The values of Sidecast's own, by name and labels. */
async function scrape(bridge: WorkerBridge): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  const samples = text.split('\n').flatMap((line) => /^(sidecast_\S+) (\S+)$/.exec(line)?.slice(1, 3) ?? [])
  return new Map(Array.from({ length: samples.length / 2 }, (_, n) => [String(samples[2 * n]), Number(samples[2 * n + 1])]))
}

test('what all processes together have done is counted once, and stays counted when they are gone', async () => {
  await using redis = await startRedis()
  await using bridge = await startWorkerBridge({ REDIS_URL: redis.url, WORKERS: '2' })
  const sessions = ['one', 'two', 'three'].map((jti) => connectSession(bridge.publicUrl, { token: login('42', { jti }) }))
  for (const session of sessions) await session.notice('sidecast:ready')
  expect(new Set(sessions.map(workerOf)).size).toBe(2)
  await bridge.eventually('/v1/users/42', ({ sessions: all }) => Array.isArray(all) && all.length === 3)
  for (let n = 0; n < 5; n++) expect(await bridge.call('POST', '/v1/events', { event: 'n', to: { users: ['42'] } })).toMatchObject({ status: 202 })
  for (const session of sessions) await session.event(5)
  for (const jti of ['three', 'nobody']) await bridge.call('POST', '/v1/revocations', { jti })
  await sessions[2]?.closed()
  await bridge.eventually('/v1/users/42', ({ sessions: all }) => Array.isArray(all) && all.length === 2)

  const before = await scrape(bridge)
  const values = (...names: readonly string[]) => Object.fromEntries(names.map((name) => [name, before.get(`sidecast_${name}`)]))
  const expected = {
    sessions: 2,
    events_published_total: 5,
    events_dispatched_total: 5,
    events_matched_total: 15,
    sessions_opened_total: 3,
    'sessions_closed_total{end="revoked"}': 1,
    revocations: 2,
    revocations_total: 2,
    failures_total: 0,
    amqp_unacked: 0,
  }
  expect(values(...Object.keys(expected))).toEqual(expected)
  expect(before.get('sidecast_log_canary_age_seconds')).toBeGreaterThanOrEqual(0)
  const page = await readFile(new URL('../../docs/metrics.md', import.meta.url), 'utf8')
  const text = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  const missing = [...page.matchAll(/^\| `(\w+)`/gm)].flatMap(([, name = '']) => (text.includes(`# TYPE ${name} `) ? [] : [name]))
  expect(missing).toEqual([])

  // Both in one moment.
  const pids = [...(await bridge.workerPids()).values()]
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  for (const pid of pids) await gone(pid)
  for (let round = 0; round < 5; round++) {
    const after = await scrape(bridge)
    const back = [...before].filter(([name, value]) => /_(total|count|sum|bucket)\b/.test(name) && !((after.get(name) ?? -1) >= value))
    expect(back).toEqual([])
    await bridge.eventually('/readyz', ({ status }) => round === 0 || status === 'ok')
  }
  for (const { socket } of sessions) socket.disconnect()
})

test('of a Redis that stands still readiness and the metrics tell, in the process that workers have in front of them', async () => {
  await using redis = await startRedis()
  await using bridge = await startWorkerBridge({ REDIS_URL: redis.url, WORKERS: '2' })
  await bridge.eventually('/readyz', ({ status }) => status === 'ok')
  redis.freeze()
  const { failing } = await bridge.eventually('/readyz', ({ status }) => status === 'failing')
  expect(failing).toEqual([{ name: 'log', failure: expect.stringMatching(/Redis/) }])
  const age = async () => (await scrape(bridge)).get('sidecast_log_canary_age_seconds') ?? 0
  const first = await age()
  expect(await age()).toBeGreaterThan(first)
  redis.thaw()
  await bridge.eventually('/readyz', ({ status }) => status === 'ok')
})
