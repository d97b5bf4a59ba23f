/** The embedded log by itself: what a durable append costs, what a resume costs in a small log and in a big one, and how long a start takes. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import jwt from 'jsonwebtoken'
import type { EventEntry } from '../src/core/entry.ts'
import { EmbeddedLog } from '../src/log/embedded.ts'
import { RawSession } from './support/raw-session.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { type Measurement, type Run, size, sizes } from './support/run.ts'
import type { Server } from './support/server.ts'

const missed = 100
/** Each has missed as much; each comes back once to each process, which has read nothing of it before. */
const returning = 8
const users = 1000
const openings = 10
const starts = 3
const group = 500
const data = (number: number): string => `{"n":${number},"at":0,"text":"${'x'.repeat(120)}"}`
const nobody = { users: [], sessions: [] }

function event(number: number, user: number): EventEntry {
  const to = { users: [`${user}`], rooms: [], sessions: [], all: false }
  return { kind: 'event', id: `bench-${number}`, event: 'tick', data: data(number), to, except: nobody, volatile: false }
}

const openLog = (directory: string, durability: 'disk' | 'process'): Promise<EmbeddedLog> =>
  EmbeddedLog.open({
    directory,
    durability,
    retentionAgeMs: 86_400_000,
    retentionEvents: 1e9,
    dedupeWindowMs: 300_000,
    now: Date.now,
    onFailure: (error) => process.stderr.write(`${error}\n`),
  })

interface Result {
  readonly entries: number
  readonly readMicros: number
  readonly returnMs: number
  readonly openMs: number
  readonly startMs: number
}

export const log: Measurement = async function* (run) {
  yield await appends(run)
  yield await resumes(run)
}

/** Calls a second, so many of them waiting at once. */
async function perSecond(calls: number, atOnce: number, call: (number: number) => Promise<unknown>): Promise<number> {
  let next = 0
  const startedAt = performance.now()
  const caller = async (): Promise<void> => {
    while (next < calls) await call(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, caller))
  return calls / ((performance.now() - startedAt) / 1000)
}

async function appends(run: Run) {
  const rows: Row[] = []
  for (const atOnce of [1, 512]) {
    const calls = size(run, 'appends', atOnce === 1 ? 500 : 50_000, atOnce === 1 ? 5000 : 500_000)
    const bare = atOnce === 1 ? await bareAppends(run, calls) : undefined
    for (const durability of ['disk', 'process'] as const) {
      const log = await openLog(await run.servers.newDirectory(), durability)
      const rate = await perSecond(calls, atOnce, (number) => log.append([event(number, number % users)]))
      await log.close()
      rows.push({ durability, 'callers at once': atOnce, 'appends/s': rounded(rate), 'of a bare file': bare === undefined ? '' : ratio(rate, bare) })
    }
    if (bare !== undefined)
      rows.push({ durability: 'write and fdatasync', 'callers at once': atOnce, 'appends/s': rounded(bare), 'of a bare file': '×1.00' })
  }
  return { title: `Appends of ${data(0).length} bytes, one event each`, rows }
}

async function bareAppends(run: Run, calls: number): Promise<number> {
  const file = await open(join(await run.servers.newDirectory(), 'bare'), 'a')
  const bytes = Buffer.from(data(0))
  try {
    return await perSecond(calls, 1, async () => {
      await file.write(bytes)
      await file.datasync()
    })
  } finally {
    await file.close()
  }
}

/** A log that holds so many, of which the last are for those who come back, in turns. Gives the place before those. */
async function fill(directory: string, entries: number): Promise<{ readonly after: number; readonly offset: string }> {
  const log = await openLog(directory, 'process')
  const others = entries - missed * returning
  for (let number = 0; number < others; number += group)
    await log.append(
      Array.from({ length: Math.min(group, others - number) }, (_, index) => event(number + index, returning + ((number + index) % users))),
    )
  const after = log.head()
  for (let number = others; number < entries; number += returning)
    await log.append(Array.from({ length: returning }, (_, user) => event(number + user, user)))
  await log.close()
  return { after, offset: log.offsetOf(after) }
}

const median = (values: readonly number[]): number => values.toSorted((one, two) => one - two)[Math.floor(values.length / 2)] ?? Number.NaN

async function resumes(run: Run) {
  const results: Result[] = []
  for (const entries of sizes(run, 'entries', [1000, 100_000], [1000, 100_000, 1_000_000])) {
    process.stderr.write(`  ${entries} entries\n`)
    const directory = await run.servers.newDirectory()
    const { after, offset } = await fill(directory, entries)
    const opened: number[] = []
    const read: number[] = []
    for (let opening = 0; opening < openings; opening++) {
      const startedAt = performance.now()
      const log = await openLog(directory, 'process')
      opened.push(performance.now() - startedAt)
      for (let user = 0; user < returning; user++) {
        const begun = performance.now()
        const reading = log.read(after, [`user:${user}`], 1000)
        if (reading.gap || reading.entries.length !== missed) throw new Error('the log does not give what was missed')
        read.push((performance.now() - begun) * 1000)
      }
      await log.close()
    }

    const settings = { RETENTION_EVENTS: `${entries * 2}`, RETENTION_AGE: '24h' }
    const started: number[] = []
    const returned: number[] = []
    for (let start = 0; start < starts; start++) {
      await using server = await run.servers.sidecast('Sidecast', { directory, settings }).start()
      started.push(server.startMs)
      for (let user = 0; user < returning; user++) {
        const token = jwt.sign({ sub: `${user}` }, run.servers.credentials.secret, { expiresIn: '1h' })
        returned.push(await comeBack(server, token, offset))
      }
    }
    results.push({ entries, readMicros: median(read), returnMs: median(returned), openMs: median(opened), startMs: median(started) })
  }
  const [smallest] = results
  const rows = results.map((result): Row => {
    const of = (field: keyof Result): string => ratio(result[field], smallest?.[field] ?? Number.NaN)
    return {
      'entries kept': result.entries,
      'read, µs': rounded(result.readMicros),
      'read, of the smallest': of('readMicros'),
      'connect to last event, ms': rounded(result.returnMs),
      'connect, of the smallest': of('returnMs'),
      'opening the log, ms': rounded(result.openMs),
      'start of the server, ms': rounded(result.startMs),
    }
  })
  return {
    title: `${missed} missed events and a start, by what the log holds (medians of ${openings * returning} readings and ${starts * returning} sessions that come back, nothing of which was read before)`,
    rows,
  }
}

/** Milliseconds from the first byte of a session that comes back to the last event that it has missed. */
function comeBack({ port, readyBy }: Server, token: string, offset: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const begun = performance.now()
    let got = 0
    let lastAt = 0
    const session = new RawSession({
      localAddress: '127.0.0.1',
      token,
      readyBy,
      isResumable: false,
      offset,
      onEvent() {
        got++
        lastAt = performance.now()
      },
      // What was missed comes before the first word.
      onReady() {
        session.cut()
        if (got === missed) resolve(lastAt - begun)
        else reject(new Error(`${got} events have come, of ${missed}`))
      },
      onLost: () => reject(new Error('the session was cut off')),
    })
    session.open(port)
  })
}
