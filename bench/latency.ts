/**
 * From the moment at which an event is due to be posted to its arrival at the socket of its user, at fixed rates. A request that has to wait because those
 * before it are slow counts from its own moment: what is measured is not made better by what is slow.
 */
import { Clients } from './support/clients.ts'
import { reconcile } from './support/reconcile.ts'
import type { Row } from './support/report.ts'
import { inRounds } from './support/rounds.ts'
import { createPublisher, type Measurement, type Run, size, sizes } from './support/run.ts'
import type { Contender } from './support/server.ts'

const users = 1000
/** As many at every rate: what a server has compiled by then is the same. */
const warmUpEvents = 4000
const warmUpRate = 2000

interface Result {
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly serverCores: number
  readonly clientCores: number
  readonly publisherCores: number
}

export const latency: Measurement = async function* (run) {
  const seconds = size(run, 'seconds', 5, 8)
  const rows: Row[] = []
  for (const rate of sizes(run, 'rates', [200, 1000], [200, 1000, 2000])) {
    const contenders = [
      run.servers.stock('Express + stock Socket.IO'),
      run.servers.sidecast('Sidecast, process', { durability: 'process' }),
      run.servers.sidecast('Sidecast, disk', { durability: 'disk' }),
    ]
    const outcomes = await inRounds(run, 3, contenders, (contender) => measure(run, contender, rate, seconds))
    for (const outcome of outcomes)
      rows.push({
        'events/s': rate,
        server: outcome.server,
        'p50 ms': outcome.value(({ p50 }) => p50),
        'p99 ms': outcome.value(({ p99 }) => p99),
        'spread of p99': outcome.spread(({ p99 }) => p99),
        'max ms': outcome.value(({ max }) => max),
        'p50 of stock': outcome.ofFirst(({ p50 }) => p50),
        'p99 of stock': outcome.ofFirst(({ p99 }) => p99),
        'server cores': outcome.value(({ serverCores }) => serverCores),
        'client cores': outcome.value(({ clientCores }) => clientCores),
        'publisher cores': outcome.value(({ publisherCores }) => publisherCores),
      })
  }
  yield { title: `From the moment an event is due to its arrival, ${seconds} s, ${users} users`, rows }
}

async function measure(run: Run, contender: Contender, rate: number, seconds: number): Promise<Result> {
  await using server = await contender.start()
  await using clients = await Clients.connect(server, { secret: run.servers.credentials.secret, users, rooms: 0 })
  await using publisher = createPublisher(run)
  const order = { connections: 64, to: { users } } as const
  await publisher.publish(server, { ...order, rate: warmUpRate, events: warmUpEvents })
  await clients.awaitFrames(warmUpEvents)
  await clients.clear()
  const cpuBefore = await server.cpuSeconds()
  const sent = await publisher.publish(server, { ...order, rate, events: rate * seconds })
  const count = await clients.awaitFrames(rate * seconds)
  reconcile(server, [sent], 1, count)
  const { p50, p99, max } = count.latency
  return {
    p50,
    p99,
    max,
    serverCores: ((await server.cpuSeconds()) - cpuBefore) / seconds,
    clientCores: count.cpuSeconds / seconds,
    publisherCores: sent.cpuSeconds / seconds,
  }
}
