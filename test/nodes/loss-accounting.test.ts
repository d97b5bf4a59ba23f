import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { account, byBackend, Publisher, rooms, startClients, timesTold } from '../support/loss-account.ts'
import { createRandom } from '../support/random.ts'
import { startRedis } from '../support/redis.ts'
import { startCluster } from './cluster.ts'

const rounds = [
  { name: 'three nodes', nodes: 3, settings: {}, nodeKills: 12, redisKills: 3, blackHoles: 3 },
  { name: 'two nodes with two workers each', nodes: 2, settings: { WORKERS: '2' }, nodeKills: 4, redisKills: 1, blackHoles: 1 },
] as const

test.each(rounds)(
  '$name on one Redis: what is accepted arrives, once and in order, whatever is killed or cut meanwhile, and nobody else gets it',
  async ({ name, nodes: count, settings, ...wanted }) => {
    const random = createRandom()
    // Before each answer: what was accepted is in the file when Redis is killed.
    await using redis = await startRedis({ config: { appendfsync: 'always' } })
    await using cluster = await startCluster(redis, count, settings)
    const { nodes } = cluster
    const [first] = nodes
    for (const user of byBackend) expect(await first?.call('PUT', `/v1/rooms/${rooms.backend}/users/${user}`)).toMatchObject({ status: 202 })
    const clients = await startClients(() => random.pick(nodes).publicUrl)
    const failure = new AbortController()
    const pause = (min: number, max: number): Promise<void> => setTimeout(random.between(min, max), undefined, { signal: failure.signal })
    const publishers = ['orders', 'chat', 'import'].map(
      (publisher) => new Publisher(publisher, () => random.pick(nodes).privateUrl, random, failure.signal),
    )
    const counts = { nodeKills: 0, redisKills: 0, blackHoles: 0, redisCuts: 0, clientCuts: 0 }
    let over = false
    const publishing = publishers.map(async (publisher) => {
      while (!over) {
        await publisher.publishSome()
        await pause(0, 60)
      }
    })
    const killingNodes = async (): Promise<void> => {
      while (counts.nodeKills < wanted.nodeKills) {
        const node = random.pick(nodes)
        // Now and then also while it is starting.
        if (random.chance(0.85)) await Promise.race([node.process.ready(), pause(5000, 5000)])
        await pause(0, 1500)
        await node.replace()
        counts.nodeKills++
      }
    }
    const killingRedis = async (): Promise<void> => {
      while (counts.redisKills < wanted.redisKills) {
        await pause(1500, 4500)
        await redis.kill()
        counts.redisKills++
        await pause(0, 800)
        await redis.start()
      }
    }
    const cuttingOff = async (): Promise<void> => {
      while (counts.blackHoles < wanted.blackHoles) {
        const { toRedis } = random.pick(nodes)
        for (let cuts = random.between(2, 6); cuts > 0; cuts--) {
          await pause(100, 600)
          counts.redisCuts += random.pick(nodes).toRedis.cut(() => random.chance(0.7))
        }
        toRedis.blackHole()
        counts.blackHoles++
        await pause(200, 6000)
        toRedis.restore()
      }
    }
    const cuttingClients = async (): Promise<void> => {
      while (!over) {
        await pause(20, 300)
        if (random.chance(0.5)) {
          const { session } = random.pick(clients)
          if (session.socket.connected) {
            session.cut()
            counts.clientCuts++
          }
        } else counts.clientCuts += random.pick(nodes).toClients.cut(() => random.chance(0.4))
      }
    }
    try {
      const trouble = async (): Promise<void> => {
        await Promise.all([killingNodes(), killingRedis(), cuttingOff()])
        for (const { process } of nodes) await process.ready()
        over = true
      }
      await Promise.all([trouble(), cuttingClients(), ...publishing])

      // For everybody, and after everything else.
      while ((await first?.call('POST', '/v1/events', { id: 'last', event: 'last', to: { all: true } }))?.status !== 202) await pause(50, 50)
      // One that was told that it missed something may have missed this.
      await Promise.all(
        clients.map(({ session }) => session.until(() => session.received.some(({ event }) => event === 'last') || timesTold(session) > 0)),
      )
      while ((await first?.call('POST', '/v1/events', { id: 'end', event: 'end', to: { all: true } }))?.status !== 202) await pause(50, 50)
      await Promise.all(clients.map(({ session }) => session.until(() => session.received.some(({ event }) => event === 'end'))))
    } finally {
      failure.abort()
      for (const { session } of clients) session.socket.disconnect()
    }

    const { total: sums, wrong } = account(clients, publishers)
    const total = { ...sums, ...counts }
    console.log(`loss accounting, ${name}`, { seed: random.seed, ...total })

    expect(total).toMatchObject({ duplicates: 0, lost: 0, leaked: 0, ...wanted })
    expect(wrong).toEqual([])
    for (const { accepted: own } of publishers)
      expect(own.map(({ position }) => position)).toEqual(own.map(({ position }) => position).toSorted((a, b) => a - b))
    // Most of it may be what they were told that they have missed, when no node was left that knew Redis before it was killed.
    expect(total.delivered + total.missed).toBeGreaterThan(total.accepted)
    expect(total.reconnects).toBeGreaterThan(wanted.nodeKills)
  },
)
