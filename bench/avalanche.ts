/** The server is killed and started anew; everybody comes back at once, and has missed a hundred events. */
import { Clients } from './support/clients.ts'
import { nowMicros } from './support/clock.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { createPublisher, type Measurement, size, sizes } from './support/run.ts'
import type { Server } from './support/server.ts'

const missed = 100

export const avalanche: Measurement = async (run) => {
  const rooms = size(run, 'rooms', 10, 10)
  const rows: Row[] = []
  for (const sessions of sizes(run, 'sessions', [1000], [1000, 5000])) {
    const directory = await run.servers.newDirectory()
    const starts: readonly ((port?: number) => Promise<Server>)[] = [
      (port) => run.servers.stock('stock Socket.IO', port === undefined ? {} : { port }),
      (port) => run.servers.sidecast('Sidecast', port === undefined ? { directory } : { directory, port }),
    ]
    let stock: number | undefined
    for (const start of starts) {
      let server = await start()
      const publisher = createPublisher(run)
      let clients: Clients | undefined
      try {
        const { secret } = run.servers.credentials
        clients = await Clients.connect(server, { secret, users: sessions, rooms, events: 10_000 })
        await clients.cut()
        await publisher.publish(server, { mode: 'batch', batch: 100, events: missed * rooms, to: { rooms } })
        await server.kill()
        await clients.clear()
        server = await start(server.port)
        const startedAt = nowMicros()
        const { ready, frames, lost, lastAt } = await clients.reconnect(server.port, sessions)
        const seconds = (lastAt - startedAt) / 1e6
        stock ??= seconds
        if (ready !== sessions) throw new Error(`${server.name}: ${ready} of ${sessions} sessions have come back`)
        if (server.readyBy === 'sidecast:ready' && frames !== sessions * missed)
          throw new Error(`${server.name}: ${frames} events were caught up, of ${sessions * missed}`)
        rows.push({
          sessions,
          server: server.name,
          'missed events that arrived': `${frames} of ${sessions * missed}`,
          'until the last is back, s': rounded(seconds),
          'of stock': ratio(seconds, stock),
          'tries that were turned away': lost,
        })
      } finally {
        await publisher.stop()
        await clients?.stop()
        await server.stop()
      }
    }
  }
  return [{ title: `All sessions come back at once after kill -9 and a start, each with ${missed} missed events`, rows }]
}
