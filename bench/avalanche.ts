/** The server is killed and started anew; everybody comes back at once, and has missed a hundred events. */
import { Clients } from './support/clients.ts'
import { nowMicros } from './support/clock.ts'
import { reconcile } from './support/reconcile.ts'
import type { Row } from './support/report.ts'
import { inRounds } from './support/rounds.ts'
import { createPublisher, type Measurement, type Run, size, sizes } from './support/run.ts'
import type { Contender } from './support/server.ts'

const missed = 100

interface Result {
  readonly frames: number
  readonly seconds: number
  readonly lost: number
  readonly serverCores: number
  readonly clientCores: number
}

export const avalanche: Measurement = async function* (run) {
  const rows: Row[] = []
  for (const sessions of sizes(run, 'sessions', [1000], [1000, 5000])) {
    // The log outlives the kill.
    const contenders = [run.servers.stock(), run.servers.sidecast('Sidecast', { directory: await run.servers.newDirectory() })]
    const outcomes = await inRounds(run, 1, contenders, (contender) => measure(run, contender, sessions))
    for (const outcome of outcomes)
      rows.push({
        sessions,
        server: outcome.server,
        'missed events that arrived': `${outcome.value(({ frames }) => frames)} of ${sessions * missed}`,
        'until the last is back, s': outcome.value(({ seconds }) => seconds),
        spread: outcome.spread(({ seconds }) => seconds),
        'of stock': outcome.ofFirst(({ seconds }) => seconds),
        'tries that were turned away': outcome.value(({ lost }) => lost),
        'server cores': outcome.value(({ serverCores }) => serverCores),
        'client cores': outcome.value(({ clientCores }) => clientCores),
      })
  }
  yield { title: `All sessions come back at once after kill -9 and a start, each with ${missed} missed events`, rows }
}

async function measure(run: Run, contender: Contender, sessions: number): Promise<Result> {
  const rooms = size(run, 'rooms', 10, 10)
  const { secret } = run.servers.credentials
  const before = await contender.start()
  await using publisher = createPublisher(run)
  await using clients = await Clients.connect(before, { secret, users: sessions, rooms, events: missed * rooms })
  await clients.cut()
  const sent = await publisher.publish(before, { mode: 'batch', batch: missed, events: missed * rooms, to: { rooms } })
  await before.kill()
  await clients.clear()
  await using server = await contender.start(before.port)
  const cpuBefore = await server.cpuSeconds()
  const startedAt = nowMicros()
  const count = await clients.reconnect(server.port, sessions)
  const seconds = (count.lastAt - startedAt) / 1e6
  if (count.ready !== sessions) throw new Error(`${server.name}: ${count.ready} of ${sessions} sessions have come back`)
  if (server.readyBy === 'sidecast:ready') reconcile(server, [sent], sessions / rooms, count)
  const serverCores = ((await server.cpuSeconds()) - cpuBefore) / seconds
  return { frames: count.frames, seconds, lost: count.lost, serverCores, clientCores: count.cpuSeconds / seconds }
}
