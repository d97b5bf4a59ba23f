/** Each client loses its connection for two seconds, again and again, while events are published at a steady rate. */
import { Clients } from './support/clients.ts'
import { type Row, rounded } from './support/report.ts'
import { createPublisher, type Measurement, size } from './support/run.ts'
import type { Server } from './support/server.ts'

const cutMs = 2000
const stayMs = 3000

export const jitter: Measurement = async (run) => {
  const sessions = size(run, 'sessions', 200, 1000)
  const seconds = size(run, 'seconds', 12, 60)
  const rate = size(run, 'rate', 50, 50)
  const events = rate * seconds
  const starts: readonly (() => Promise<Server>)[] = [
    () => run.servers.stock(),
    () => run.servers.stock('stock Socket.IO with connectionStateRecovery', { recovery: true }),
    () => run.servers.sidecast('Sidecast'),
  ]
  const rows: Row[] = []
  for (const start of starts) {
    const server = await start()
    const publisher = createPublisher(run)
    const { secret } = run.servers.credentials
    const clients = await Clients.connect(server, { secret, users: sessions, rooms: 1, events })
    try {
      const published = publisher.publish(server, { events, rate, connections: 8, to: { room: 'room-0' } })
      await clients.jitter(seconds, cutMs, stayMs)
      await published
      const mustArrive = server.readyBy === 'sidecast:ready'
      const count = await clients.awaitFrames(mustArrive ? events * sessions : 0)
      if (mustArrive && count.frames !== events * sessions) throw new Error(`${server.name}: ${count.frames} events arrived, of ${events * sessions}`)
      rows.push({
        server: server.name,
        'delivered %': rounded((count.frames / (events * sessions)) * 100),
        missing: events * sessions - count.frames,
        twice: count.duplicates,
        'out of order': count.disorder,
      })
    } finally {
      await publisher.stop()
      await clients.stop()
      await server.stop()
    }
  }
  return [{ title: `${sessions} sessions, each cut for 2 s about every 3 s, ${rate} events/s to all for ${seconds} s`, rows }]
}
