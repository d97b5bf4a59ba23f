/** Many events, each to one of many users: how many a second come in, and arrive. */
import { type Broker, startBroker } from '../test/support/broker.ts'
import { Clients } from './support/clients.ts'
import type { PublishOrder } from './support/publish-order.ts'
import { reconcile } from './support/reconcile.ts'
import type { Row } from './support/report.ts'
import { inRounds } from './support/rounds.ts'
import { createPublisher, type Measurement, type Run, size } from './support/run.ts'
import type { Server } from './support/server.ts'

type Mode = PublishOrder['mode']

interface Way {
  readonly mode: Mode
  readonly name: string
  readonly connections: number
  readonly batch: number
}

interface Contender {
  readonly name: string
  /** Absent: it is the peer. */
  readonly durability?: 'process' | 'disk'
}

interface Rate {
  readonly perSecond: number
  readonly serverCores: number
  readonly clientCores: number
  readonly publisherCores: number
}

type Rates = ReadonlyMap<Mode, Rate>

// A stream of lines, and a consumer that loses nothing, are not what one writes by hand in an hour.
const waysOfPeer: readonly Way[] = [
  { mode: 'single', name: 'HTTP, one an event', connections: 32, batch: 1 },
  { mode: 'batch', name: 'HTTP, batches of 500', connections: 4, batch: 500 },
]
const ways: readonly Way[] = [
  ...waysOfPeer,
  { mode: 'ndjson', name: 'NDJSON', connections: 1, batch: 1 },
  { mode: 'amqp', name: 'RabbitMQ', connections: 1, batch: 1 },
]

export const oneUser: Measurement = async function* (run) {
  const users = size(run, 'users', 1000, 5000)
  const broker = await brokerOfThisMachine()
  try {
    const contenders: readonly Contender[] = [
      { name: 'Express + stock Socket.IO' },
      { name: 'Sidecast, process', durability: 'process' },
      { name: 'Sidecast, disk', durability: 'disk' },
    ]
    const outcomes = await inRounds(run, 3, contenders, (contender) => measureAll(run, contender, users, broker))
    const rows = outcomes.flatMap((outcome) =>
      ways.flatMap(({ mode, name }): readonly Row[] => {
        const of = (at: Mode, field: keyof Rate) => (rates: Rates) => rates.get(at)?.[field] ?? Number.NaN
        if (Number.isNaN(outcome.value(of(mode, 'perSecond')))) return []
        // What the peer has no way for is beside what is nearest to it.
        const [ofPeer, note] =
          mode === 'ndjson'
            ? (['batch', ' (its batches)'] as const)
            : mode === 'amqp'
              ? (['single', ' (its singles)'] as const)
              : ([mode, ''] as const)
        return [
          {
            server: outcome.server,
            way: name,
            'events/s': outcome.value(of(mode, 'perSecond')),
            spread: outcome.spread(of(mode, 'perSecond')),
            'of stock': `${outcome.ofFirst(of(mode, 'perSecond'), of(ofPeer, 'perSecond'))}${note}`,
            'of its singles': outcome.ofOwn(of(mode, 'perSecond'), of('single', 'perSecond')),
            'server cores': outcome.value(of(mode, 'serverCores')),
            'client cores': outcome.value(of(mode, 'clientCores')),
            'publisher cores': outcome.value(of(mode, 'publisherCores')),
          },
        ]
      }),
    )
    const without = broker === undefined ? ' (without RabbitMQ, which is not installed here)' : ''
    yield { title: `Events to one of ${users} users each, from the first request to the last arrival${without}`, rows }
  } finally {
    await broker?.close()
  }
}

async function brokerOfThisMachine(): Promise<Broker | undefined> {
  try {
    return await startBroker()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    process.stderr.write('RabbitMQ is not installed here: it is left out\n')
    return undefined
  }
}

async function measureAll(run: Run, { name, durability }: Contender, users: number, broker: Broker | undefined): Promise<Rates> {
  // Names of its own for each server: none gets what another has left in its queue.
  const names = broker?.names()
  const settings = { ...(broker !== undefined && { AMQP_URL: broker.url }), ...names?.settings }
  const contender = durability === undefined ? run.servers.stock(name) : run.servers.sidecast(name, { durability, settings })
  await using server = await contender.start()
  await using clients = await Clients.connect(server, { secret: run.servers.credentials.secret, users, rooms: 0 })
  const rates = new Map<Mode, Rate>()
  for (const { mode, connections, batch } of durability === undefined ? waysOfPeer : ways) {
    const order = { mode, connections, batch, to: { users } }
    if (mode !== 'amqp') rates.set(mode, await measure(run, server, clients, order))
    else if (broker !== undefined && names !== undefined)
      rates.set(mode, await measure(run, server, clients, { ...order, url: broker.url, exchange: names.exchange }))
  }
  return rates
}

type Order = Pick<PublishOrder, 'mode' | 'connections' | 'batch' | 'to'> & Partial<Pick<PublishOrder, 'url' | 'exchange'>>

async function measure(run: Run, server: Server, clients: Clients, order: Order): Promise<Rate> {
  await using publisher = createPublisher(run)
  // In a second or some: one by one they take longer.
  const events = order.mode === 'single' ? size(run, 'singles', 10_000, 20_000) : size(run, 'events', 40_000, 100_000)
  await clients.clear()
  const warmUp = Math.ceil(events / 10)
  await publisher.publish(server, { ...order, events: warmUp })
  await clients.awaitFrames(warmUp)
  await clients.clear()
  const cpuBefore = await server.cpuSeconds()
  const sent = await publisher.publish(server, { ...order, events })
  const count = await clients.awaitFrames(events)
  reconcile(server, [sent], 1, count)
  const seconds = (count.lastAt - sent.startedAt) / 1e6
  return {
    perSecond: events / seconds,
    serverCores: ((await server.cpuSeconds()) - cpuBefore) / seconds,
    clientCores: count.cpuSeconds / seconds,
    publisherCores: sent.cpuSeconds / seconds,
  }
}
