import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { idsIn } from '../amqp/ids-in.ts'
import { InsistentPublisher } from '../amqp/insistent-publisher.ts'
import { login } from '../support/bridge.ts'
import { startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { createRandom } from '../support/random.ts'
import { startRedis } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { type ClusterNode, startCluster } from './cluster.ts'

const kills = 5
const redisKills = 2
const cuts = 8
const users = ['ada', 'ben', 'cem'] as const
const room = 'team'
const inRoom: readonly string[] = ['ada', 'ben']

const idOf = (number: number): string => `message-${number}`

/** How many messages a node has stored since it was started; 0 when it cannot be asked. */
async function consumedBy({ privateUrl }: ClusterNode): Promise<number> {
  const text = await fetch(`${privateUrl}/metrics`, { signal: AbortSignal.timeout(500) }).then(
    (response) => response.text(),
    () => '',
  )
  return Number(/^sidecast_amqp_appended_total (\d+)$/m.exec(text)?.[1] ?? 0)
}

/** Whether it keeps what it has been delivered until it can be stored. */
async function isPaused({ privateUrl }: ClusterNode): Promise<boolean> {
  const text = await fetch(`${privateUrl}/readyz`, { signal: AbortSignal.timeout(500) }).then(
    (response) => response.text(),
    () => '',
  )
  return text.includes('the consumer waits until events can be stored')
}

test('three nodes, one queue: whoever consumes it is killed, stopped or cut off, another goes on; Redis is lost, all wait; each message once, in order', async () => {
  const random = createRandom()
  const broker = await startBroker({ owned: true })
  const names = broker.names()
  // Before each answer: what was stored is in the file when Redis is killed.
  await using redis = await startRedis({ config: { appendfsync: 'always' } })
  const ways = await Promise.all(Array.from({ length: 3 }, () => startTcpProxy(broker)))
  // With a short heartbeat a silent consumer is found out within seconds.
  const settings = (index: number) => ({ AMQP_URL: `${broker.urlFor({ port: ways[index]?.port ?? 0 })}?heartbeat=2`, ...names.settings })
  await using cluster = await startCluster(redis, ways.length, settings)
  const { nodes } = cluster
  for (const { process } of nodes) await process.said('the AMQP consumer is attached')
  const clients = await Promise.all(
    Array.from({ length: 6 }, async (_, index) => {
      const user = users[index % users.length] ?? 'ada'
      const token = login(user, { rooms: inRoom.includes(user) ? [room] : [] })
      const session = connectSession(random.pick(nodes).publicUrl, { token, transports: [index < 4 ? 'websocket' : 'polling'] })
      session.socket.io.on('reconnect_attempt', () => Object.assign(session.socket.io, { uri: random.pick(nodes).publicUrl }))
      await session.notice('sidecast:ready')
      return { user, session }
    }),
  )
  const publisher = new InsistentPublisher(broker.url)
  publisher.start()
  /** For whom each message is; absent: it can never be delivered. */
  const published: (((user: string) => boolean) | undefined)[] = []
  const failure = new AbortController()
  const pause = (min: number, max: number): Promise<void> => setTimeout(random.between(min, max), undefined, { signal: failure.signal })
  let over = false
  let redisCuts = 0

  const publishOne = (): void => {
    const number = published.length
    const [user, poison] = [random.pick(users), random.chance(0.01)]
    const [key, isFor] = random.pick([
      [`user.${user}.counted`, (one: string) => one === user],
      [`room.${room}.counted`, (one: string) => inRoom.includes(one)],
      ['all.counted', () => true],
    ] as const)
    published.push(poison ? undefined : isFor)
    const content = Buffer.from(poison ? 'not JSON' : JSON.stringify({ number }))
    publisher.publish({ exchange: names.exchange, routingKey: key, content, properties: { messageId: idOf(number) } })
  }
  const publishing = async (): Promise<void> => {
    while (!over) {
      if (publisher.unconfirmed < 500) for (let left = random.between(1, 20); left > 0; left--) publishOne()
      await pause(0, 40)
    }
  }
  /** The one that gets on, of those that are asked. */
  const consumer = async (asked: readonly ClusterNode[] = nodes): Promise<ClusterNode> => {
    const before = new Map(await Promise.all(asked.map(async (node) => [node, await consumedBy(node)] as const)))
    for (;;) {
      await pause(20, 20)
      for (const node of asked) {
        const now = await consumedBy(node)
        if (now > (before.get(node) ?? 0)) return node
        before.set(node, now)
      }
    }
  }
  const takeovers: { readonly how: string; readonly ms: number }[] = []
  const replace = async (how: string, strike: (node: ClusterNode) => unknown, restore: (node: ClusterNode) => unknown): Promise<void> => {
    for (const { process } of nodes) await process.said('the AMQP consumer is attached')
    await pause(100, 1000)
    const node = await consumer()
    const startedAt = performance.now()
    const struck = strike(node)
    await consumer(nodes.filter((other) => other !== node))
    takeovers.push({ how, ms: Math.round(performance.now() - startedAt) })
    await struck
    await restore(node)
  }
  /** The queue stays where it is, and so do the messages, until what was lost is back. */
  const deprive = async (strike: (node: ClusterNode) => unknown, restore: (node: ClusterNode) => unknown): Promise<void> => {
    await pause(100, 1000)
    const node = await consumer()
    await strike(node)
    const others = async (): Promise<string> => String(await Promise.all(nodes.filter((other) => other !== node).map(consumedBy)))
    const before = await others()
    // On a slow machine the broker may miss its heartbeats, and another goes on.
    while (!(await isPaused(node)) && (await others()) === before) await pause(20, 20)
    await pause(0, 800)
    await restore(node)
    await consumer()
  }
  const wayOf = (node: ClusterNode) => ways[nodes.indexOf(node)]
  let dead: readonly string[] = []
  try {
    const striking = async (): Promise<void> => {
      for (let count = 0; count < kills; count++) {
        await replace(
          'killed',
          (node) => node.replace(),
          () => undefined,
        )
      }
      await replace(
        'stopped',
        (node) => node.process.signal('SIGSTOP'),
        (node) => node.process.signal('SIGCONT'),
      )
      await replace(
        'black hole',
        (node) => wayOf(node)?.blackHole(),
        (node) => wayOf(node)?.restore(),
      )
      for (let count = 0; count < redisKills; count++) await deprive(redis.kill, redis.start)
      await deprive(
        ({ toRedis }) => toRedis.blackHole(),
        ({ toRedis }) => toRedis.restore(),
      )
      for (let count = 0; count < cuts; count++) {
        await pause(50, 500)
        redisCuts += (await consumer()).toRedis.cut(() => random.chance(0.7))
      }
      await pause(500, 500)
      over = true
    }
    await Promise.all([striking(), publishing()])
    while (publisher.unconfirmed > 0) await pause(20, 20)
    // For everybody, and after everything else.
    publisher.publish({ exchange: names.exchange, routingKey: 'all.last', content: Buffer.from('0'), properties: { messageId: 'last' } })
    await Promise.all(clients.map(({ session }) => session.until(() => session.received.some(({ event }) => event === 'last'))))
    await broker.untilQueue(names.queue, ({ messages }) => messages === 0)
    dead = await idsIn(broker, names.deadLetter)
  } finally {
    failure.abort()
    for (const { process } of nodes) process.signal('SIGCONT')
    for (const { session } of clients) session.socket.disconnect()
    await publisher.close()
    await cluster.close()
    await Promise.all(ways.map((way) => way.close()))
    await broker.close()
  }

  const poison = published.flatMap((isFor, number) => (isFor === undefined ? [idOf(number)] : []))
  const total = {
    published: published.length,
    poison: poison.length,
    deadLetters: dead.length,
    redisKills,
    redisCuts,
    delivered: 0,
    reconnects: 0,
    told: 0,
  }
  for (const { session } of clients) {
    const readies = session.notices.filter(({ event }) => event === 'sidecast:ready')
    total.delivered += session.received.length
    total.reconnects += readies.length - 1
    total.told += readies.slice(1).filter(({ data }) => Object(data).recovered === false).length
  }
  console.log('takeover of a queue', { seed: random.seed, ...total, takeovers: takeovers.map(({ how, ms }) => `${how}: ${ms} ms`).join(', ') })
  for (const { user, session } of clients) {
    const got = session.received.flatMap(({ event, data }) => (event === 'counted' ? [Object(data).number] : []))
    expect(got).toEqual(published.flatMap((isFor, number) => (isFor?.(user) ? [number] : [])))
  }
  expect(total.told).toBe(0)
  // Killed between the letter and the acknowledgement, a consumer leaves the message to the next, who writes another letter.
  expect([...new Set(dead)].toSorted()).toEqual(poison.toSorted())
  expect(publisher.refused).toBe(0)
})
