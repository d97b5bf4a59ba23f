/** How fast clients log in, and what memory one takes that only sits there. */
import { setTimeout } from 'node:timers/promises'
import { Clients } from './support/clients.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { type Measurement, sizes } from './support/run.ts'
import type { Server } from './support/server.ts'

/** Until what the logins have left behind has been collected. */
const settleMs = 3000
/** One process of clients may have 20,000 files open on many machines. */
const perProcess = 12_500

export const connections: Measurement = async (run) => {
  const rows: Row[] = []
  for (const sessions of sizes(run, 'sessions', [2000], [10_000, 50_000])) {
    const starts: readonly (() => Promise<Server>)[] = [
      () => run.servers.stock(),
      () => run.servers.sidecast('Sidecast'),
      ...sizes(run, 'workers', [2], [4]).map((workers) => () => run.servers.sidecast(`Sidecast, ${workers} workers`, { workers })),
    ]
    let stock: { readonly perSecond: number; readonly bytes: number } | undefined
    for (const start of starts) {
      const server = await start()
      let clients: Clients | undefined
      try {
        await setTimeout(settleMs)
        const empty = await server.residentBytes()
        const processes = Math.max(2, Math.ceil(sessions / perProcess))
        // Tokens are signed before the first of them is used: it is not part of what is measured.
        const { secret } = run.servers.credentials
        clients = await Clients.connect(server, { secret, users: sessions, rooms: 100, processes, atOnce: 200 })
        const { seconds } = clients.login
        await setTimeout(settleMs)
        const bytes = ((await server.residentBytes()) - empty) / sessions
        const perSecond = sessions / seconds
        stock ??= { perSecond, bytes }
        rows.push({
          sessions,
          server: server.name,
          'logins/s': rounded(perSecond),
          'logins of stock': ratio(perSecond, stock.perSecond),
          'KiB/session': rounded(bytes / 1024),
          'memory of stock': ratio(bytes, stock.bytes),
        })
      } finally {
        await clients?.stop()
        await server.stop()
      }
    }
  }
  return [{ title: 'Logins with a token, and resident memory for each idle session', rows }]
}
