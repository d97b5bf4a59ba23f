/** Events to rooms: how many frames a second reach the clients, one event at a time and in bursts. */
import { Clients } from './support/clients.ts'
import { nowMicros } from './support/clock.ts'
import { fitting, openFilesNote } from './support/open-files.ts'
import type { Publication } from './support/publish-order.ts'
import { reconcile } from './support/reconcile.ts'
import { type Row, rounded } from './support/report.ts'
import { inRounds } from './support/rounds.ts'
import { createPublisher, type Measurement, type Run, size, sizes } from './support/run.ts'
import type { Contender } from './support/server.ts'

/** A step to small rooms goes to so many of them that about so many frames are on their way: what is measured is not how long it takes to ask for the next one. */
const framesOfStep = 1000
/** Of the steps under way, and of one burst. The next step is there when the one before is out; no more than that piles up. */
const framesAtOnce = 200_000
const maxStepsAtOnce = 8
const warmUpFrames = 20_000
const maxFramesOfBurst = 2_000_000

interface Crowd {
  readonly sessions: number
  readonly rooms: number
  readonly title: string
  readonly workers: readonly number[]
  readonly rounds: number
}

interface Rate {
  readonly framesPerSecond: number
  readonly serverCores: number
  readonly clientCores: number
  readonly publisherCores: number
}

export const fanOut: Measurement = async function* (run) {
  const rooms = size(run, 'rooms', 20, 100)
  const crowds: readonly Crowd[] = [
    ...sizes(run, 'sessions', [1000], [1000, 6000, 20_000]).map((wanted) => ({
      sessions: fitting(wanted),
      rooms: 1,
      title: `one room of ${fitting(wanted)} sessions${openFilesNote(wanted)}`,
      workers: wanted > 1000 ? [4] : [2, 4],
      rounds: wanted > 10_000 ? 1 : 3,
    })),
    { sessions: 60 * rooms, rooms, title: `${rooms} rooms of 60 sessions`, workers: [4], rounds: 3 },
  ]
  for (const crowd of crowds) {
    const wanted = sizes(run, 'bursts', [1, 10, 100], [1, 10, 100])
    const bursts = wanted.filter((burst) => (burst * crowd.sessions) / crowd.rooms <= maxFramesOfBurst)
    const tooBig = bursts.length < wanted.length ? ` (no bursts of more than ${maxFramesOfBurst} frames)` : ''
    const contenders = [
      run.servers.stock(),
      run.servers.bare(),
      run.servers.sidecast('Sidecast'),
      ...sizes(run, 'workers', [2], crowd.workers).map((workers) => run.servers.sidecast(`Sidecast, ${workers} workers`, { workers })),
    ]
    const outcomes = await inRounds(run, crowd.rounds, contenders, (contender) => measure(run, contender, crowd, bursts))
    const rows = outcomes.flatMap((outcome) =>
      bursts.map((burst, index): Row => {
        const of = (field: keyof Rate) => (rates: readonly Rate[]) => rates[index]?.[field] ?? Number.NaN
        return {
          server: outcome.server,
          burst,
          'frames/s': outcome.value(of('framesPerSecond')),
          spread: outcome.spread(of('framesPerSecond')),
          'of stock': outcome.ofFirst(of('framesPerSecond')),
          'server cores': outcome.value(of('serverCores')),
          'frames/s a core': outcome.value((rates) => of('framesPerSecond')(rates) / of('serverCores')(rates)),
          'client cores': outcome.value(of('clientCores')),
          'publisher cores': outcome.value(of('publisherCores')),
        }
      }),
    )
    yield { title: `Fan-out to ${crowd.title}, ${rounded(seconds(run))} s each${tooBig}`, rows }
  }
}

const seconds = (run: Run): number => size(run, 'seconds', 2, 2)

async function measure(run: Run, contender: Contender, { sessions, rooms }: Crowd, bursts: readonly number[]): Promise<readonly Rate[]> {
  await using server = await contender.start()
  await using clients = await Clients.connect(server, { secret: run.servers.credentials.secret, users: sessions, rooms })
  await using publisher = createPublisher(run)
  const recipients = sessions / rooms
  // No room gets more than one burst of a step: they are posted side by side, and no order is promised between them.
  const atOnce = Math.min(rooms, Math.ceil(framesOfStep / recipients))
  const enough = seconds(run) * 1e6
  const rates: Rate[] = []
  for (const burst of bursts) {
    const events = burst * atOnce
    const stepsAtOnce = Math.max(2, Math.min(maxStepsAtOnce, Math.floor(framesAtOnce / (events * recipients))))
    const publish = (): Promise<Publication> =>
      publisher.publish(server, {
        mode: burst === 1 ? 'single' : 'batch',
        batch: burst,
        connections: Math.min(16, atOnce),
        events,
        to: rooms === 1 ? { room: 'room-0' } : { rooms },
      })
    // Nobody is cold when it counts.
    await clients.clear()
    const warmUp = Math.ceil(warmUpFrames / (events * recipients))
    for (let step = 0; step < warmUp; step++) await publish()
    await clients.awaitFrames(warmUp * events * recipients)
    await clients.clear()
    const cpuBefore = await server.cpuSeconds()
    const steps: Promise<Publication>[] = []
    for (const end = nowMicros() + enough; nowMicros() < end; ) {
      const step = publish()
      // It is asked for below what became of it.
      step.catch(() => undefined)
      steps.push(step)
      await clients.awaitFrames(Math.max(0, steps.length - stepsAtOnce + 1) * events * recipients)
    }
    const sent = await Promise.all(steps)
    const count = await clients.awaitFrames(sent.length * events * recipients)
    const serverSeconds = (await server.cpuSeconds()) - cpuBefore
    reconcile(server, sent, recipients, count)
    if (count.disorder > 0) throw new Error(`${server.name}: ${count.disorder} events came out of order`)
    const took = (count.lastAt - (sent[0]?.startedAt ?? 0)) / 1e6
    rates.push({
      framesPerSecond: count.frames / took,
      serverCores: serverSeconds / took,
      clientCores: count.cpuSeconds / took,
      publisherCores: sent.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0) / took,
    })
  }
  return rates
}
