import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { acquainted, inSync, type Sentinel, startRedis, startSentinel, type TestRedis } from '../support/redis.ts'
import { eventTo, until } from './entries.ts'
import { startNode, untilSeen } from './redis-node.ts'

const login = { user: 'watcher', password: 'secret' }

/** From now on its sentinels cannot make it a replica. */
const hold = (redis: TestRedis): Promise<unknown> => redis.command('ACL', 'SETUSER', login.user, '-replicaof', '-slaveof')
const release = (redis: TestRedis): Promise<unknown> => redis.command('ACL', 'SETUSER', login.user, '+@all')

/** A change of the role closes all connections, that of the question too. */
async function roleOf(redis: TestRedis): Promise<unknown> {
  for (;;) {
    const answer = await redis.command('ROLE').catch(() => pause(20))
    if (answer !== undefined) return Object(answer)[0]
  }
}

/** As soon as that is possible, and not again: the second time would make the first one master again. */
async function promoteOther(sentinel: Sentinel): Promise<void> {
  for (let done = false; !done; )
    done = await sentinel.command('SENTINEL', 'FAILOVER', 'mymaster').then(
      () => true,
      () => pause(50, false),
    )
}

async function untilRole(redis: TestRedis, role: string): Promise<void> {
  while ((await roleOf(redis)) !== role) await pause(20)
}

test('a node leaves a master that lives on when the sentinels name another one, and again; everybody is told', { timeout: 300_000 }, async () => {
  const config = { [`user ${login.user}`]: `on >${login.password} allkeys allchannels allcommands` }
  await using first = await startRedis({ config })
  await using second = await startRedis({ config: { ...config, replicaof: `127.0.0.1 ${first.port}` } })
  await inSync(first)
  const watch = () => startSentinel(first, { quorum: 2, login })
  const sentinels = await Promise.all([watch(), watch(), watch()])
  const [sentinel] = sentinels
  try {
    await acquainted(sentinels)
    // One that is not there holds nobody up.
    const servers = [{ port: 1 }, ...sentinels].map(({ port }) => ({ host: '127.0.0.1', port }))
    const endpoint = { servers, master: 'mymaster', tls: false, database: 0 }
    const nodes = [await startNode(first, { endpoint }), await startNode(first, { endpoint })]
    for (const [round, { old, next }] of [
      { old: first, next: second },
      { old: second, next: first },
    ].entries()) {
      await nodes[0]?.append(`before ${round}`)
      await inSync(old)
      const epoch = nodes[0]?.log.epoch
      const toldBefore = nodes.map(({ told }) => told)
      await hold(old)
      await promoteOther(sentinel)
      await until(() => nodes.every(({ told }, index) => told > (toldBefore[index] ?? 0)))
      expect([await roleOf(old), await roleOf(next)]).toEqual(['master', 'master'])
      await nodes[1]?.appendAtLast(eventTo('r', { id: `after ${round}` }))
      for (const node of nodes) await untilSeen(node, `after ${round}`)
      expect(nodes[0]?.log.epoch).not.toBe(epoch)
      expect(nodes[0]?.log.epoch).toBe(nodes[1]?.log.epoch)
      expect(String(await next.command('XREVRANGE', '{test}:log', '+', '-', 'COUNT', '1'))).toContain(`after ${round}`)
      await release(old)
      await untilRole(old, 'slave')
      await inSync(next)
    }
  } finally {
    for (const sentinel of sentinels) await sentinel.close()
  }
})
