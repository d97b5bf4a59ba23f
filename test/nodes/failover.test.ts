import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startTestBridge } from '../support/bridge.ts'
import { account, byBackend, Publisher, rooms, startClients, timesTold } from '../support/loss-account.ts'
import { createRandom } from '../support/random.ts'
import { inSync, startRedis, startSentinel } from '../support/redis.ts'

test('when a replica takes over that is behind, everybody has everything or is told, and no offset is given out twice', async () => {
  const random = createRandom()
  await using master = await startRedis()
  await using replica = await startRedis({ config: { replicaof: `127.0.0.1 ${master.port}` } })
  await inSync(master)
  const sentinel = await startSentinel(master)
  const failure = new AbortController()
  try {
    const settings = { REDIS_URL: `redis+sentinel://127.0.0.1:${sentinel.port}/mymaster/0` }
    await using one = await startTestBridge(settings)
    await using other = await startTestBridge(settings)
    const nodes = [one, other]
    for (const user of byBackend) expect(await one.call('PUT', `/v1/rooms/${rooms.backend}/users/${user}`)).toMatchObject({ status: 202 })
    const clients = await startClients(() => random.pick(nodes).publicUrl)
    const publishers = ['orders', 'chat', 'import'].map((name) => new Publisher(name, () => random.pick(nodes).privateUrl, random, failure.signal))
    let over = false
    const publishing = publishers.map(async (publisher) => {
      while (!over) {
        await publisher.publishSome()
        await setTimeout(random.between(0, 40))
      }
    })
    const accepted = (): number => publishers.reduce((sum, publisher) => sum + publisher.accepted.length, 0)
    const untilAccepted = async (more: number): Promise<void> => {
      for (const wanted = accepted() + more; accepted() < wanted; ) await setTimeout(5, undefined, { signal: failure.signal })
    }
    const failing = async (): Promise<void> => {
      await untilAccepted(200)
      // Who is away meanwhile has an offset that the replica knows.
      const away = clients.filter((_, index) => index % 5 === 0)
      for (const { session } of away) session.socket.disconnect()
      replica.freeze()
      await untilAccepted(200)
      await master.kill()
      replica.thaw()
      const connected = clients.filter((client) => !away.includes(client))
      await Promise.all(connected.map(({ session }) => session.until(() => timesTold(session) > 0)))
      await untilAccepted(200)
      for (const { session } of away) session.socket.connect()
      await Promise.all(away.map(({ session }) => session.until(() => timesTold(session) > 0)))
      await untilAccepted(200)
      over = true
    }
    await Promise.all([failing(), ...publishing])
    await one.publish({ event: 'end', to: { all: true } })
    await Promise.all(clients.map(({ session }) => session.until(() => session.received.some(({ event }) => event === 'end'))))
    for (const { session } of clients) session.socket.disconnect()

    const { total, wrong } = account(clients, publishers)
    console.log('failover to a replica that is behind', { seed: random.seed, ...total })
    expect(total).toMatchObject({ duplicates: 0, lost: 0, leaked: 0 })
    expect(wrong).toEqual([])
    for (const { session } of clients) expect(timesTold(session)).toBeGreaterThan(0)
    // What the replica lacked is lost; else the test shows nothing.
    expect(total.missed).toBeGreaterThan(0)
    const places = new Map<string, unknown>()
    for (const { session } of clients)
      for (const { event, data, offset } of session.received) {
        const [, position = ''] = offset.split('-')
        const what = event === 'end' ? event : `${Object(data).publisher} ${Object(data).number}`
        expect(places.get(position) ?? what).toBe(what)
        places.set(position, what)
      }
  } finally {
    failure.abort()
    await sentinel.close()
  }
})
