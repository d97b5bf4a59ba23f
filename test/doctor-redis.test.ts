import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testEnvironment } from './support/bridge.ts'
import { startRedis } from './support/redis.ts'
import { runSidecast } from './support/sidecast.ts'

let directory = ''
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sidecast-doctor-'))
})
afterAll(() => rm(directory, { recursive: true }))

/** No bridge runs. */
async function examine(settings: Readonly<Record<string, string>>) {
  const { exitCode, out } = await runSidecast(['doctor'], testEnvironment(directory, { PRIVATE_PORT: '1', PUBLIC_PORT: '2', ...settings }))
  return { exitCode, out: out.replaceAll(/ +/g, ' ') }
}

test('a Redis that keeps what it is given is well', async () => {
  await using redis = await startRedis()
  const { exitCode, out } = await examine({ REDIS_URL: redis.url })
  expect({ exitCode, out }).toMatchObject({ exitCode: 0 })
  expect(out).toMatch(/ok redis connected to the master at 127\.0\.0\.1:\d+, version \d+\.\d+.*; the user has the rights/)
  expect(await redis.command('KEYS', '*')).toEqual([])
})

test('one that forgets, one that throws away, and a user without rights are told with the cure', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no', maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' } })
  const { exitCode, out } = await examine({ REDIS_URL: redis.url })
  expect(exitCode).toBe(1)
  expect(out).toMatch(/problem redis it has no append-only file.*\n +-> set appendonly yes/)
  expect(out).toMatch(/problem redis it throws keys away .*allkeys-lru.*\n +-> set maxmemory-policy noeviction/)
  await redis.command('ACL', 'SETUSER', 'weak', 'on', '>only-for-this-test', '~*', '+@read', '+info', '+time', '+eval', '+evalsha')
  const weak = await examine({ REDIS_URL: redis.url.replace('redis://', 'redis://weak:only-for-this-test@') })
  expect(weak.out).toMatch(/problem redis the Redis user lacks a permission/)
  expect(weak.out).not.toContain('only-for-this-test')
})

test('a Redis that is not there, and more workers than processors, are told', async () => {
  const { exitCode, out } = await examine({ REDIS_URL: 'redis://127.0.0.1:1', WORKERS: '64' })
  expect(exitCode).toBe(1)
  expect(out).toMatch(/problem redis Redis at 127\.0\.0\.1:1 cannot be reached/)
  expect(out).toMatch(/problem workers 64 workers on \d+ processors/)
})
