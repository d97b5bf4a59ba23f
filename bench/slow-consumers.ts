/** What some clients that take nothing cost those that do: both are in the room of the measured events, the slow ones in another that fills their lines. */
import { Clients } from './support/clients.ts'
import { reconcile } from './support/reconcile.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { createPublisher, type Measurement, size } from './support/run.ts'

const fillingBytes = 32 * 1024
const fillingRate = 20
/** A client that has been cut off comes back, and stalls again. */
const everyMs = 7000

export const slowConsumers: Measurement = async (run) => {
  const good = size(run, 'sessions', 1000, 10_000)
  const slow = size(run, 'slow', 100, 1000)
  const rate = size(run, 'rate', 10, 3)
  const seconds = size(run, 'seconds', 10, 20)
  const rows: Row[] = []
  for (const start of [() => run.servers.stock(), () => run.servers.sidecast('Sidecast')]) {
    const server = await start()
    const { secret } = run.servers.credentials
    const crowd: Clients[] = []
    const publisher = createPublisher(run)
    const filler = createPublisher(run)
    try {
      const clients = await Clients.connect(server, { secret, users: good, rooms: 1 })
      crowd.push(clients)
      const measure = async () => {
        await clients.clear()
        const sent = await publisher.publish(server, { events: rate * seconds, rate, connections: 8, to: { room: 'room-0' } })
        const count = await clients.awaitFrames(rate * seconds * good)
        reconcile(server, [sent], good, count)
        return count.latency
      }
      await measure()
      const quiet = await measure()
      const stalled = await Clients.connect(server, { secret, users: slow, firstUser: good, rooms: 1, room: 'slow', processes: 1 })
      crowd.push(stalled)
      await stalled.stall(everyMs)
      const filling = filler.publish(server, {
        event: 'filling',
        bytes: fillingBytes,
        events: fillingRate * seconds,
        rate: fillingRate,
        connections: 8,
        to: { room: 'slow' },
      })
      const burdened = await measure()
      const resident = await server.residentBytes()
      await filling
      rows.push({
        server: server.name,
        'p50 ms alone': rounded(quiet.p50),
        'p99 ms alone': rounded(quiet.p99),
        'p50 ms with slow ones': rounded(burdened.p50),
        'p99 ms with slow ones': rounded(burdened.p99),
        'p50 to alone': ratio(burdened.p50, quiet.p50),
        'p99 to alone': ratio(burdened.p99, quiet.p99),
        'server MiB': Math.round(resident / 2 ** 20),
      })
    } finally {
      await Promise.all([publisher.stop(), filler.stop(), ...crowd.map((clients) => clients.stop())])
      await server.stop()
    }
  }
  return [
    {
      title: `${slow} clients that read nothing among ${good} that do, ${rate} events/s to all, ${fillingRate} of 32 KiB a second to the slow ones`,
      rows,
    },
  ]
}
