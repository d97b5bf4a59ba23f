/** Events to rooms: how many frames a second reach the clients, one event at a time and in bursts. */
import { Clients } from './support/clients.ts'
import type { Publication } from './support/publisher-process.ts'
import { reconcile } from './support/reconcile.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { createPublisher, type Measurement, type Run, size, sizes } from './support/run.ts'
import type { Server } from './support/server.ts'

/** Bursts under way at once: the next one is there when the one before is out, and no more piles up. */
const window = 4

interface Crowd {
  readonly sessions: number
  readonly rooms: number
}

interface Rate {
  readonly burst: number
  readonly framesPerSecond: number
  readonly serverCores: number
  readonly clientCores: number
}

export const fanOut: Measurement = async (run) => {
  const crowds: readonly Crowd[] = [
    ...sizes(run, 'sessions', [1000], [1000, 6000, 20_000]).map((sessions) => ({ sessions, rooms: 1 })),
    { sessions: 60 * size(run, 'rooms', 20, 100), rooms: size(run, 'rooms', 20, 100) },
  ]
  const starts: readonly (() => Promise<Server>)[] = [
    () => run.servers.stock(),
    () => run.servers.bare(),
    () => run.servers.sidecast('Sidecast'),
    ...sizes(run, 'workers', [2], [2, 4]).map((workers) => () => run.servers.sidecast(`Sidecast, ${workers} workers`, { workers })),
  ]
  const tables = []
  for (const crowd of crowds) {
    const rows: Row[] = []
    let stock: readonly Rate[] | undefined
    for (const start of starts) {
      const server = await start()
      try {
        const rates = await measure(run, server, crowd)
        stock ??= rates
        for (const [index, { burst, framesPerSecond, serverCores, clientCores }] of rates.entries())
          rows.push({
            server: server.name,
            burst,
            'frames/s': rounded(framesPerSecond),
            'of stock': ratio(framesPerSecond, stock[index]?.framesPerSecond ?? Number.NaN),
            'server cores': rounded(serverCores),
            'client cores': rounded(clientCores),
          })
      } finally {
        await server.stop()
      }
    }
    const where = crowd.rooms === 1 ? `one room of ${crowd.sessions} sessions` : `${crowd.rooms} rooms of ${crowd.sessions / crowd.rooms} sessions`
    tables.push({ title: `Fan-out to ${where}`, rows })
  }
  return tables
}

async function measure(run: Run, server: Server, { sessions, rooms }: Crowd): Promise<readonly Rate[]> {
  const clients = await Clients.connect(server, { secret: run.servers.credentials.secret, users: sessions, rooms })
  const publisher = createPublisher(run)
  const recipients = sessions / rooms
  const enough = size(run, 'seconds', 2, 5) * 1e6
  try {
    const rates: Rate[] = []
    for (const burst of sizes(run, 'bursts', [1, 10, 100], [1, 10, 100])) {
      const publish = (): Promise<Publication> =>
        publisher.publish(server, {
          mode: burst === 1 ? 'single' : 'batch',
          batch: burst,
          events: burst,
          to: rooms === 1 ? { room: 'room-0' } : { rooms },
        })
      // Nobody is cold when it counts.
      await clients.clear()
      await publish()
      await clients.awaitFrames(burst * recipients)
      const before = await clients.clear()
      const cpuBefore = await server.cpuSeconds()
      const sent = [await publish()]
      const startedAt = sent[0]?.startedAt ?? 0
      for (;;) {
        const publication = await publish()
        sent.push(publication)
        await clients.awaitFrames(Math.max(0, sent.length - window + 1) * burst * recipients)
        if (publication.startedAt - startedAt > enough) break
      }
      const count = await clients.awaitFrames(sent.length * burst * recipients)
      const serverSeconds = (await server.cpuSeconds()) - cpuBefore
      reconcile(server, sent, recipients, count)
      if (count.disorder > 0) throw new Error(`${server.name}: ${count.disorder} events came out of order`)
      const seconds = (count.lastAt - startedAt) / 1e6
      rates.push({
        burst,
        framesPerSecond: count.frames / seconds,
        serverCores: serverSeconds / seconds,
        clientCores: (count.cpuSeconds - before.cpuSeconds) / seconds,
      })
    }
    return rates
  } finally {
    await publisher.stop()
    await clients.stop()
  }
}
