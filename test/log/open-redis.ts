import { afterEach } from 'vitest'
import type { RedisLogOptions } from '../../src/log/redis/options.ts'
import { RedisLog } from '../../src/log/redis/redis-log.ts'
import { newFolder } from './folders.ts'

const opened: RedisLog[] = []

/** A log in a Redis that is closed after the test. */
export async function openRedisLog(
  { port, ca }: { readonly port: number; readonly ca?: string | undefined },
  options: Partial<RedisLogOptions> = {},
): Promise<RedisLog> {
  const log = await RedisLog.open({
    endpoint: { servers: [{ host: '127.0.0.1', port }], tls: ca !== undefined, database: 0 },
    ...(ca !== undefined && { ca }),
    prefix: 'test',
    waitReplicas: 0,
    directory: newFolder(),
    retentionAgeMs: 86_400_000,
    retentionEvents: 1_000_000,
    dedupeWindowMs: 86_400_000,
    now: Date.now,
    onFailure: () => undefined,
    openMs: 5000,
    ...options,
  })
  opened.push(log)
  return log
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((log) => log.close()))
})
