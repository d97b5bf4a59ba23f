/** Many events, each to one of many users: how many a second come in, and arrive. RabbitMQ has a measurement of its own, `amqp`. */
import { Clients } from './support/clients.ts'
import { reconcile } from './support/reconcile.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { createPublisher, type Measurement, type Run, size } from './support/run.ts'
import type { Server } from './support/server.ts'

const ways = [
  { name: 'HTTP, one an event', mode: 'single', connections: 32, batch: 1 },
  { name: 'HTTP, batches of 500', mode: 'batch', connections: 4, batch: 500 },
  { name: 'NDJSON', mode: 'ndjson', connections: 1, batch: 1 },
] as const

type Way = (typeof ways)[number]

export const oneUser: Measurement = async (run) => {
  const users = size(run, 'users', 1000, 10_000)
  const rows: Row[] = []
  const stock = new Map<string, number>()
  const starts: readonly (() => Promise<Server>)[] = [
    () => run.servers.stock('Express + stock Socket.IO'),
    () => run.servers.sidecast('Sidecast, process', { durability: 'process' }),
    () => run.servers.sidecast('Sidecast, disk', { durability: 'disk' }),
  ]
  for (const start of starts) {
    const server = await start()
    const clients = await Clients.connect(server, { secret: run.servers.credentials.secret, users, rooms: 0 })
    try {
      for (const way of ways) {
        // A stream of lines is not something that one writes by hand in an hour.
        if (way.mode === 'ndjson' && server.readyBy === 'connect') continue
        const { perSecond, serverCores } = await measure(run, server, clients, users, way)
        if (server.readyBy === 'connect') stock.set(way.mode, perSecond)
        const beside = stock.get(way.mode) ?? stock.get('batch') ?? Number.NaN
        rows.push({
          server: server.name,
          way: way.name,
          'events/s': rounded(perSecond),
          'of stock': `${ratio(perSecond, beside)}${way.mode === 'ndjson' ? ' (its batches)' : ''}`,
          'server cores': rounded(serverCores),
        })
      }
    } finally {
      await clients.stop()
      await server.stop()
    }
  }
  return [{ title: `Events to one of ${users} users each, from the first request to the last arrival`, rows }]
}

async function measure(run: Run, server: Server, clients: Clients, users: number, { mode, connections, batch }: Way) {
  const publisher = createPublisher(run)
  const events = size(run, 'events', 20_000, 100_000)
  try {
    const order = { mode, connections, batch, to: { users } } as const
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
    return { perSecond: events / seconds, serverCores: ((await server.cpuSeconds()) - cpuBefore) / seconds }
  } finally {
    await publisher.stop()
  }
}
