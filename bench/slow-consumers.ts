/** What some clients that take nothing cost those that do: both are in the room of the measured events, the slow ones in another that fills their lines. */
import { setTimeout } from 'node:timers/promises'
import { Clients, type Count } from './support/clients.ts'
import { reconcile } from './support/reconcile.ts'
import type { Row } from './support/report.ts'
import { inRounds } from './support/rounds.ts'
import { createPublisher, type Measurement, type Run, size } from './support/run.ts'
import type { Contender } from './support/server.ts'

const fillingBytes = 32 * 1024
/** A client that has been cut off comes back, and stalls again. */
const everyMs = 20_000
/** Until lines are full. */
const leadSeconds = 10

interface Result {
  readonly quiet: Count
  readonly burdened: Count
  readonly mebibytes: number
}

interface Sizes {
  readonly good: number
  readonly slow: number
  readonly rate: number
  readonly fillingRate: number
  readonly seconds: number
}

export const slowConsumers: Measurement = async function* (run) {
  const good = size(run, 'sessions', 1000, 10_000)
  const slow = size(run, 'slow', 100, 1000)
  const rate = size(run, 'rate', 10, 2)
  // Filling a line is work for the server too: the slow ones alone must not be all that it can do.
  const fillingRate = size(run, 'fillings', 20, 8)
  const seconds = size(run, 'seconds', 10, 30)
  // What a thousand of them may keep waiting is more than the cap of a process (512 MB); near it publishers are asked to wait, and here each event counts.
  const contenders = [run.servers.stock(), run.servers.sidecast('Sidecast, MAX_BUFFERED=4gb', { settings: { MAX_BUFFERED: '4gb' } })]
  const outcomes = await inRounds(run, 1, contenders, (contender) => measure(run, contender, { good, slow, rate, fillingRate, seconds }))
  const rows = outcomes.map(
    (outcome): Row => ({
      server: outcome.server,
      'p50 ms alone': outcome.value(({ quiet }) => quiet.latency.p50),
      'p99 ms alone': outcome.value(({ quiet }) => quiet.latency.p99),
      'p50 ms with slow ones': outcome.value(({ burdened }) => burdened.latency.p50),
      'p99 ms with slow ones': outcome.value(({ burdened }) => burdened.latency.p99),
      'p50 to alone': outcome.ofOwn(
        ({ burdened }) => burdened.latency.p50,
        ({ quiet }) => quiet.latency.p50,
      ),
      'p99 to alone': outcome.ofOwn(
        ({ burdened }) => burdened.latency.p99,
        ({ quiet }) => quiet.latency.p99,
      ),
      'server MiB': outcome.value(({ mebibytes }) => mebibytes),
      'client cores': outcome.value(({ burdened }) => burdened.cpuSeconds / seconds),
    }),
  )
  const what = `${slow} clients that read nothing among ${good} that do`
  yield { title: `${what}, ${rate} events/s to all, ${fillingRate} of 32 KiB a second to the slow ones`, rows }
}

async function measure(run: Run, contender: Contender, { good, slow, rate, fillingRate, seconds }: Sizes): Promise<Result> {
  const { secret } = run.servers.credentials
  await using server = await contender.start()
  await using publisher = createPublisher(run)
  await using filler = createPublisher(run)
  await using clients = await Clients.connect(server, { secret, users: good, rooms: 1 })
  const measureGood = async (): Promise<Count> => {
    await clients.clear()
    const sent = await publisher.publish(server, { events: rate * seconds, rate, connections: 8, to: { room: 'room-0' } })
    const count = await clients.awaitFrames(rate * seconds * good)
    reconcile(server, [sent], good, count)
    return count
  }
  await measureGood()
  const quiet = await measureGood()
  await using stalled = await Clients.connect(server, { secret, users: slow, firstUser: good, rooms: 1, room: 'slow', processes: 1 })
  await stalled.stall(everyMs)
  const order = { event: 'filling', bytes: fillingBytes, rate: fillingRate, connections: 8, to: { room: 'slow' } } as const
  const filling = filler.publish(server, { ...order, events: fillingRate * (leadSeconds + seconds) })
  const [burdened] = await Promise.all([setTimeout(leadSeconds * 1000).then(measureGood), filling])
  const mebibytes = (await server.residentBytes()) / 2 ** 20
  return { quiet, burdened, mebibytes }
}
