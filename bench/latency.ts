/**
 * From the moment at which an event is due to be posted to its arrival at the socket of its user, at fixed rates. A request that has to wait because those
 * before it are slow counts from its own moment: what is measured is not made better by what is slow.
 */
import { Clients } from './support/clients.ts'
import { reconcile } from './support/reconcile.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { createPublisher, type Measurement, size, sizes } from './support/run.ts'
import type { Server } from './support/server.ts'

const users = 1000
const warmUpSeconds = 1

export const latency: Measurement = async (run) => {
  const seconds = size(run, 'seconds', 5, 20)
  const rows: Row[] = []
  for (const rate of sizes(run, 'rates', [200, 1000], [200, 1000, 3000])) {
    const starts: readonly (() => Promise<Server>)[] = [
      () => run.servers.stock('Express + stock Socket.IO'),
      () => run.servers.sidecast('Sidecast, process', { durability: 'process' }),
      () => run.servers.sidecast('Sidecast, disk', { durability: 'disk' }),
    ]
    let stock: { readonly p50: number; readonly p99: number } | undefined
    for (const start of starts) {
      const server = await start()
      const clients = await Clients.connect(server, { secret: run.servers.credentials.secret, users, rooms: 0 })
      const publisher = createPublisher(run)
      try {
        const order = { rate, connections: 64, to: { users } } as const
        await publisher.publish(server, { ...order, events: rate * warmUpSeconds })
        await clients.awaitFrames(rate * warmUpSeconds)
        await clients.clear()
        const sent = await publisher.publish(server, { ...order, events: rate * seconds })
        const count = await clients.awaitFrames(rate * seconds)
        reconcile(server, [sent], 1, count)
        const { p50, p99, max } = count.latency
        stock ??= { p50, p99 }
        rows.push({
          'events/s': rate,
          server: server.name,
          'p50 ms': rounded(p50),
          'p99 ms': rounded(p99),
          'max ms': rounded(max),
          'p50 of stock': ratio(p50, stock.p50),
          'p99 of stock': ratio(p99, stock.p99),
        })
      } finally {
        await publisher.stop()
        await clients.stop()
        await server.stop()
      }
    }
  }
  return [{ title: `From POST to the socket, ${seconds} s, ${users} users`, rows }]
}
