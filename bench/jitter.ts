/** Each client loses its connection for two seconds, again and again, while events are published at a steady rate. */
import { Clients } from './support/clients.ts'
import { reconcile } from './support/reconcile.ts'
import type { Row } from './support/report.ts'
import { inRounds } from './support/rounds.ts'
import { createPublisher, type Measurement, size } from './support/run.ts'

const cutMs = 2000
const stayMs = 3000

export const jitter: Measurement = async function* (run) {
  const sessions = size(run, 'sessions', 200, 1000)
  const seconds = size(run, 'seconds', 12, 30)
  const rate = size(run, 'rate', 50, 50)
  const events = rate * seconds
  const contenders = [
    run.servers.stock(),
    run.servers.stock('stock Socket.IO with connectionStateRecovery', { recovery: true }),
    run.servers.sidecast('Sidecast'),
  ]
  const outcomes = await inRounds(run, 1, contenders, async (contender) => {
    await using server = await contender.start()
    await using publisher = createPublisher(run)
    await using clients = await Clients.connect(server, { secret: run.servers.credentials.secret, users: sessions, rooms: 1, events })
    await clients.clear()
    // Over one connection: between several there is no order that could be kept.
    const published = publisher.publish(server, { events, rate, to: { room: 'room-0' } })
    await clients.jitter(seconds, cutMs, stayMs)
    const sent = await published
    const mustArrive = server.readyBy === 'sidecast:ready'
    const count = await clients.awaitFrames(mustArrive ? events * sessions : 0)
    if (mustArrive) reconcile(server, [sent], sessions, count)
    return count
  })
  const rows = outcomes.map(
    (outcome): Row => ({
      server: outcome.server,
      'delivered %': outcome.value(({ frames }) => (frames / (events * sessions)) * 100),
      missing: outcome.value(({ frames }) => events * sessions - frames),
      twice: outcome.value(({ duplicates }) => duplicates),
      'out of order': outcome.value(({ disorder }) => disorder),
      'client cores': outcome.value(({ cpuSeconds }) => cpuSeconds / seconds),
    }),
  )
  yield { title: `${sessions} sessions, each cut for 2 s about every 3 s, ${rate} events/s to all for ${seconds} s`, rows }
}
