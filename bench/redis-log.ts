/**
 * How fast the Redis log is, against a Redis of its own on this machine: `npm run bench:redis`.
 *   appends  events a second that callers append one by one and that are read back, beside bare XADDs that are pipelined as much
 *   memory   bytes that one kept event takes in Redis, and its id in the dedupe window
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@redis/client'
import type { EventEntry } from '../src/core/entry.ts'
import { RedisLog } from '../src/log/redis/redis-log.ts'
import { startRedis, type TestRedis } from '../test/support/redis.ts'

const events = 100_000
const atATime = 512
const rounds = 3

const data = JSON.stringify({ order: 42, state: 'shipped', total: '12.50', text: 'x'.repeat(60) })
const nobody = { users: [], sessions: [] }

function event(number: number, digest: string | undefined): EventEntry {
  const to = { users: [`${number % 1000}`], rooms: [], sessions: [], all: false }
  const id = `0198f2a4-7c1b-7000-8000-${String(number).padStart(12, '0')}`
  return { kind: 'event', id, ...(digest !== undefined && { digest }), event: 'order.shipped', data, to, except: nobody, volatile: false }
}

async function perSecond(call: (number: number) => Promise<unknown>): Promise<number> {
  let next = 0
  const startedAt = performance.now()
  const caller = async (): Promise<void> => {
    while (next < events) await call(next++)
  }
  await Promise.all(Array.from({ length: atATime }, caller))
  return Math.round((events / (performance.now() - startedAt)) * 1000)
}

async function openLog(redis: TestRedis, directory: string, prefix: string): Promise<RedisLog> {
  return RedisLog.open({
    endpoint: { servers: [{ host: '127.0.0.1', port: redis.port }], tls: false, database: 0 },
    prefix,
    waitReplicas: 0,
    directory,
    retentionAgeMs: 86_400_000,
    retentionEvents: 1e9,
    dedupeWindowMs: 86_400_000,
    now: Date.now,
    onFailure: (error) => process.stderr.write(`${error}\n`),
  })
}

async function usedBytes(redis: TestRedis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(String(await redis.command('INFO', 'memory')))?.[1])
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const directory = await mkdtemp(join(tmpdir(), 'sidecast-bench-'))
const redis = await startRedis()
try {
  say(`${events} events of ${data.length} bytes, ${atATime} at a time`)
  for (let round = 0; round < rounds; round++) {
    const bare = createClient({ url: redis.url })
    await bare.connect()
    const adds = await perSecond((number) => bare.sendCommand(['XADD', `bare${round}`, '*', 'e', JSON.stringify(event(number, undefined))]))
    bare.destroy()

    const log = await openLog(redis, directory, `round${round}`)
    const appends = await perSecond((number) => log.append([event(number, undefined)]))
    await log.close()
    const startedAt = performance.now()
    await (await openLog(redis, directory, `round${round}`)).close()
    const loads = Math.round((events / (performance.now() - startedAt)) * 1000)
    say(`round ${round + 1}: bare XADD ${adds}/s, append and read back ${appends}/s (${(appends / adds).toFixed(2)}), loaded at a start ${loads}/s`)
    await redis.command('FLUSHALL')
  }

  for (const [name, digest] of [
    ['without', undefined],
    ['with', 'x'.repeat(43)],
  ] as const) {
    const before = await usedBytes(redis)
    const log = await openLog(redis, directory, name)
    await perSecond((number) => log.append([event(number, digest)]))
    say(`memory: ${Math.round(((await usedBytes(redis)) - before) / events)} bytes for each event ${name} an id of the publisher`)
    await log.close()
    await redis.command('FLUSHALL')
  }
} finally {
  await redis.close()
  await rm(directory, { recursive: true, force: true })
}
