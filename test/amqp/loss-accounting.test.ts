import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import { startBroker } from '../support/broker.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { freePorts } from '../support/free-ports.ts'
import { createRandom, type Random } from '../support/random.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { idsIn } from './ids-in.ts'
import { InsistentPublisher, type Outgoing } from './insistent-publisher.ts'

const messages = 20_000
const brokerKills = 3
/** How often the other things happen at least. */
const enough = 6
const users = ['ada', 'ben', 'cem', 'dea'] as const
const room = 'team'
const inRoom: readonly string[] = ['ada', 'ben']

interface Numbered {
  readonly number: number
  /** Undefined: it can never be delivered. */
  readonly isFor: ((user: string) => boolean) | undefined
  readonly outgoing: Outgoing
}

interface Client {
  readonly name: string
  readonly user: string
  readonly session: TestSession
}

const idOf = (number: number): string => `message-${number}`

/** The forms in which applications publish, and now and then something that nobody can deliver. */
function toMessage(number: number, exchange: string, random: Random): Numbered {
  const { pick, chance, between } = random
  const data = { number, filling: 'x'.repeat(chance(0.05) ? between(1000, 20_000) : between(0, 100)) }
  const make = (routingKey: string, content: unknown, headers?: Outgoing['properties']['headers']): Outgoing => ({
    exchange,
    routingKey,
    content: Buffer.from(typeof content === 'string' ? content : JSON.stringify(content)),
    properties: { messageId: idOf(number), ...(headers === undefined ? {} : { headers }) },
  })
  if (chance(0.01)) {
    const outgoing = pick([
      () => make(`user.${pick(users)}.counted`, `not JSON ${number}`),
      () => make('nobody', data),
      () => make(`user.${pick(users)}.sidecast:ready`, data),
      () => make('any', { event: 'counted', to: { users: [pick(users)], rums: ['x'] }, data }),
    ])()
    return { number, outgoing, isFor: undefined }
  }
  const [user, other] = [pick(users), pick(users)]
  const [outgoing, isFor] = pick<() => readonly [Outgoing, (one: string) => boolean]>([
    () => [make(`user.${user}.counted`, data), (one) => one === user],
    () => [make(`room.${room}.counted`, data), (one) => inRoom.includes(one)],
    () => [make('all.counted', data), () => true],
    () => [make('any', data, { 'sidecast-event': 'counted', 'sidecast-users': `${user},${other}` }), (one) => one === user || one === other],
    () => [make('any', { event: 'counted', to: { rooms: [room], users: [user] }, data }), (one) => one === user || inRoom.includes(one)],
  ])()
  return { number, outgoing, isFor }
}

async function startClients(url: string): Promise<readonly Client[]> {
  return Promise.all(
    Array.from({ length: 8 }, async (_, index): Promise<Client> => {
      const user = users[index % users.length] ?? 'ada'
      const transport = index < 5 ? 'websocket' : 'polling'
      const token = login(user, { rooms: inRoom.includes(user) ? [room] : [] })
      const session = connectSession(url, { token, transports: [transport], reconnectionDelayMax: 150 })
      await session.notice('sidecast:ready')
      return { name: `${user} ${index} over ${transport}`, user, session }
    }),
  )
}

test('what the broker confirmed arrives, once and in order, or stands in the dead-letter queue, whatever is killed or cut meanwhile', {
  timeout: 240_000,
}, async () => {
  const random = createRandom()
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-amqp-loss-'))
  const broker = await startBroker({ owned: true })
  const names = broker.names()
  await using toBroker = await startTcpProxy(broker)
  const [publicPort = 0, privatePort = 0] = await freePorts(2)
  const settings = {
    PUBLIC_PORT: String(publicPort),
    PRIVATE_PORT: String(privatePort),
    AMQP_URL: broker.urlFor({ port: toBroker.port }),
    ...names.settings,
  }
  await using toClients = await startTcpProxy({ host: '127.0.0.1', port: publicPort })
  let bridge = new BridgeProcess(settings, { directory })
  await bridge.said('the AMQP consumer is attached')
  const clients = await startClients(`http://127.0.0.1:${toClients.port}`)
  const publisher = new InsistentPublisher(broker.url)
  publisher.start()

  const counts = { brokerKills: 0, bridgeKills: 0, brokerCuts: 0, blackHoles: 0, clientCuts: 0 }
  const published: Numbered[] = []
  const failure = new AbortController()
  const pause = (min: number, max: number): Promise<void> => setTimeout(random.between(min, max), undefined, { signal: failure.signal })
  let over = false
  let meanwhile = 0

  const publishing = async (): Promise<void> => {
    while (!over || published.length < messages) {
      if (publisher.unconfirmed < 1000) {
        for (let left = random.between(1, 60); left > 0; left--) {
          const message = toMessage(published.length, names.exchange, random)
          published.push(message)
          publisher.publish(message.outgoing)
        }
      }
      await pause(0, over ? 2 : 80)
    }
  }
  const killingBroker = async (): Promise<void> => {
    while (counts.brokerKills < brokerKills) {
      await pause(2000, 5000)
      await broker.kill()
      counts.brokerKills++
      await pause(0, 500)
      await broker.restart()
    }
    while (Math.min(counts.bridgeKills, counts.brokerCuts, counts.blackHoles * 3) < enough) await pause(100, 100)
    meanwhile = published.length
    over = true
  }
  const killingBridge = async (): Promise<void> => {
    while (!over) {
      // Mostly when it works again, now and then while it is starting.
      if (random.chance(0.8)) await Promise.race([bridge.said('the AMQP consumer is attached'), pause(10_000, 10_000)])
      await pause(0, 2500)
      await bridge.kill()
      counts.bridgeKills++
      bridge = new BridgeProcess(settings, { directory })
    }
  }
  const cuttingBroker = async (): Promise<void> => {
    while (!over) {
      await pause(0, 1500)
      if (toBroker.connections === 0) continue
      if (random.chance(0.3)) {
        counts.blackHoles++
        toBroker.blackHole()
        await pause(50, 1000)
        toBroker.restore()
      } else {
        counts.brokerCuts++
        toBroker.cut()
      }
    }
  }
  const cuttingClients = async (): Promise<void> => {
    while (!over) {
      await pause(20, 500)
      if (random.chance(0.7)) {
        random.pick(clients).session.cut()
        counts.clientCuts++
      } else counts.clientCuts += toClients.cut(() => random.chance(0.5))
    }
  }

  let dead: readonly string[] = []
  try {
    await Promise.all([publishing(), killingBroker(), killingBridge(), cuttingBroker(), cuttingClients()])
    while (publisher.unconfirmed > 0) await pause(20, 20)
    // For everybody, and after everything else.
    publisher.publish({ exchange: names.exchange, routingKey: 'all.last', content: Buffer.from('0'), properties: { messageId: 'last' } })
    await Promise.all(clients.map(({ session }) => session.until(() => session.received.some(({ event }) => event === 'last'))))
    await broker.untilQueue(names.queue, ({ messages }) => messages === 0)
    dead = await idsIn(broker, names.deadLetter)
  } finally {
    failure.abort()
    for (const { session } of clients) session.socket.disconnect()
    await publisher.close()
    await bridge.kill()
    await broker.close()
    await rm(directory, { recursive: true })
  }

  const deadIds = new Set(dead)
  const poison = published.filter(({ isFor }) => isFor === undefined)
  const total = {
    published: published.length,
    publishedMeanwhile: meanwhile,
    confirmed: publisher.confirmed,
    poison: poison.length,
    deadLetters: deadIds.size,
    deadLettersTwice: dead.length - deadIds.size,
    ...counts,
    publisherConnections: publisher.connections,
    resent: publisher.resent,
    refused: publisher.refused,
    delivered: 0,
    reconnects: 0,
    duplicates: 0,
    lost: 0,
    leaked: 0,
    told: 0,
  }
  const wrong: string[] = []
  for (const { name, user, session } of clients) {
    const got = session.received.flatMap(({ event, data }) => (event === 'counted' ? [Number(Object(data).number)] : []))
    const due = published.filter(({ number, isFor }) => isFor?.(user) && !deadIds.has(idOf(number))).map(({ number }) => number)
    const [gotOnce, dueOnce] = [new Set(got), new Set(due)]
    const readies = session.notices.filter(({ event }) => event === 'sidecast:ready')
    total.delivered += got.length
    total.reconnects += readies.length - 1
    total.duplicates += got.length - gotOnce.size
    total.lost += [...dueOnce].filter((number) => !gotOnce.has(number)).length
    total.leaked += [...gotOnce].filter((number) => !dueOnce.has(number)).length
    total.told += readies.slice(1).filter(({ data }) => Object(data).recovered === false).length
    const first = due.findIndex((number, index) => got[index] !== number)
    if (first !== -1) wrong.push(`${name}: item ${first} is ${got[first]}, not ${due[first]}`)
  }
  console.log('loss accounting over AMQP', { seed: random.seed, ...total })

  expect(total).toMatchObject({ refused: 0, duplicates: 0, lost: 0, leaked: 0, told: 0, confirmed: published.length + 1 })
  expect(wrong).toEqual([])
  expect([...deadIds].toSorted()).toEqual(poison.map(({ number }) => idOf(number)).toSorted())
  expect(total.brokerKills).toBe(brokerKills)
  expect(Math.min(total.bridgeKills, total.brokerCuts, total.clientCuts)).toBeGreaterThanOrEqual(enough)
  expect(total.published).toBeGreaterThanOrEqual(messages)
  expect(total.reconnects).toBeGreaterThan(total.bridgeKills)
})
