import { createClient, RESP_TYPES } from '@redis/client'
import { afterAll, beforeAll } from 'vitest'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { describeEventLog } from './event-log-suite.ts'
import { openRedisLog } from './open-redis.ts'

// The data of a copy lie on another server, as those of a backup that was put back do.
const servers: TestRedis[] = []
const placedOn = new Map<string, TestRedis>()

beforeAll(async () => {
  servers.push(await startRedis({ config: { appendonly: 'no' } }), await startRedis({ config: { appendonly: 'no' } }))
})

afterAll(async () => {
  for (const server of servers) await server.close()
})

function serverOf(place: string): TestRedis {
  const server = placedOn.get(place) ?? servers[0]
  if (server === undefined) throw new Error('no Redis has been started')
  return server
}

describeEventLog('the Redis log', {
  open: ({ place, now, ...setup }) => openRedisLog(serverOf(place), { ...setup, prefix: place, now, clock: now, sweepMs: 5, canaryMs: 50 }),
  copy: async (from, to) => {
    const target = servers.find((server) => server !== serverOf(from))
    if (target === undefined) throw new Error('two servers are needed')
    placedOn.set(to, target)
    await copyKeys(serverOf(from), target, `{${from}}:`, `{${to}}:`)
  },
})

async function copyKeys(source: TestRedis, target: TestRedis, from: string, to: string): Promise<void> {
  const [reader, writer] = await Promise.all([source, target].map(async ({ url }) => createClient({ url, RESP: 2 }).connect()))
  if (reader === undefined || writer === undefined) throw new Error('no client')
  for (const key of await reader.keys(`${from}*`)) {
    const dump = await reader.sendCommand<Buffer>(['DUMP', key], { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } })
    await writer.sendCommand(['RESTORE', `${to}${key.slice(from.length)}`, '0', dump, 'REPLACE'])
  }
  reader.destroy()
  writer.destroy()
}
