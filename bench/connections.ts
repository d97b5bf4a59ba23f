/** How fast clients log in, and what memory one takes that only sits there. */
import { setTimeout } from 'node:timers/promises'
import { Clients } from './support/clients.ts'
import { fitting, openFilesNote } from './support/open-files.ts'
import { reconcile } from './support/reconcile.ts'
import type { Row } from './support/report.ts'
import { inRounds } from './support/rounds.ts'
import { createPublisher, type Measurement, type Run, sizes } from './support/run.ts'
import type { Contender } from './support/server.ts'

/** Until what the logins have left behind has been collected. */
const settleMs = 3000
/** One process of clients has to hold them, and to be faster than the server. */
const perClientProcess = 12_500
/** Sessions that come and go before the memory is looked at, for each process of a server: what a process takes once is no session's. */
const warmUp = 500

interface Crowd extends Contender {
  readonly sessions: number
  readonly processes: number
}

interface Result {
  readonly perSecond: number
  readonly serverCores: number
  readonly clientCores: number
  readonly bytes: number
}

export const connections: Measurement = async function* (run) {
  for (const wanted of sizes(run, 'sessions', [2000], [50_000])) {
    const crowd = (contender: Contender, processes: number): Crowd => ({ ...contender, processes, sessions: fitting(wanted, processes) })
    const contenders = [
      crowd(run.servers.stock(), 1),
      crowd(run.servers.sidecast('Sidecast'), 1),
      ...sizes(run, 'workers', [2], [4]).map((workers) => crowd(run.servers.sidecast(`Sidecast, ${workers} workers`, { workers }), workers)),
    ]
    const outcomes = await inRounds(run, 1, contenders, (contender) => measure(run, contender))
    const rows = outcomes.map((outcome, index): Row => {
      const sessions = contenders[index]?.sessions ?? 0
      return {
        server: outcome.server,
        sessions,
        'logins/s': outcome.value(({ perSecond }) => perSecond),
        spread: outcome.spread(({ perSecond }) => perSecond),
        'logins of stock': outcome.ofFirst(({ perSecond }) => perSecond),
        'server cores': outcome.value(({ serverCores }) => serverCores),
        'client cores': outcome.value(({ clientCores }) => clientCores),
        'KiB/session': outcome.value(({ bytes }) => bytes / 1024),
        'memory of stock': outcome.ofFirst(({ bytes }) => bytes),
      }
    })
    yield { title: `Logins with a token, and resident memory for each idle session${openFilesNote(wanted)}`, rows }
  }
}

async function measure(run: Run, contender: Crowd): Promise<Result> {
  const { sessions, processes } = contender
  const { secret } = run.servers.credentials
  await using server = await contender.start()
  const first = await Clients.connect(server, { secret, users: warmUp * processes, rooms: 1 })
  await first.stop()
  await setTimeout(settleMs)
  const empty = await server.residentBytes()
  const cpuBefore = await server.cpuSeconds()
  const clientProcesses = Math.max(2, Math.ceil(sessions / perClientProcess))
  // Tokens are signed before the first of them is used: it is not part of what is measured.
  await using clients = await Clients.connect(server, { secret, users: sessions, rooms: 1, processes: clientProcesses, atOnce: 200 })
  const { seconds, cores } = clients.login
  const serverCores = ((await server.cpuSeconds()) - cpuBefore) / seconds
  await setTimeout(settleMs)
  const bytes = ((await server.residentBytes()) - empty) / sessions
  // Each of them is there, and gets what is meant for it.
  await clients.clear()
  await using publisher = createPublisher(run)
  const sent = await publisher.publish(server, { events: 1, to: { room: 'room-0' } })
  reconcile(server, [sent], sessions, await clients.awaitFrames(sessions))
  return { perSecond: sessions / seconds, serverCores, clientCores: cores, bytes }
}
