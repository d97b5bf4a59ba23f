/** The embedded log by itself: what a durable append costs, what a resume costs in a small log and in a big one, and how long a start takes. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { EventEntry } from '../src/core/entry.ts'
import { EmbeddedLog } from '../src/log/embedded.ts'
import { type Row, ratio, rounded } from './support/report.ts'
import { type Measurement, type Run, size, sizes } from './support/run.ts'

const missed = 100
const users = 1000
const readings = 200
const data = JSON.stringify({ order: 42, state: 'shipped', total: '12.50', text: 'x'.repeat(100) })
const nobody = { users: [], sessions: [] }

function event(number: number, user: number): EventEntry {
  const to = { users: [`${user}`], rooms: [], sessions: [], all: false }
  return { kind: 'event', id: `bench-${number}`, event: 'order.updated', data, to, except: nobody, volatile: false }
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

export const log: Measurement = async (run) => [await appends(run), await resumes(run)]

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
  return { title: `Appends of ${data.length} bytes, one event each`, rows }
}

async function bareAppends(run: Run, calls: number): Promise<number> {
  const file = await open(join(await run.servers.newDirectory(), 'bare'), 'a')
  const bytes = Buffer.from(data)
  try {
    return await perSecond(calls, 1, async () => {
      await file.write(bytes)
      await file.datasync()
    })
  } finally {
    await file.close()
  }
}

async function resumes(run: Run) {
  const rows: Row[] = []
  let small: { readonly micros: number; readonly startMs: number } | undefined
  for (const entries of sizes(run, 'entries', [1000, 100_000], [1000, 1_000_000])) {
    const directory = await run.servers.newDirectory()
    const filled = await openLog(directory, 'process')
    const group = 500
    for (let number = 0; number < entries - missed; number += group)
      await filled.append(
        Array.from({ length: Math.min(group, entries - missed - number) }, (_, index) => event(number + index, 1 + ((number + index) % users))),
      )
    const after = filled.head()
    await filled.append(Array.from({ length: missed }, (_, index) => event(entries + index, 0)))
    await filled.close()

    const startedAt = performance.now()
    const log = await openLog(directory, 'process')
    const startMs = performance.now() - startedAt
    const times = Array.from({ length: readings }, () => {
      const begun = performance.now()
      const reading = log.read(after, ['user:0'], 1000)
      if (reading.gap || reading.entries.length !== missed) throw new Error('the log does not give what was missed')
      return (performance.now() - begun) * 1000
    }).toSorted((one, two) => one - two)
    await log.close()
    const micros = times[readings / 2] ?? Number.NaN
    small ??= { micros, startMs }
    rows.push({
      'entries kept': entries,
      [`reading ${missed} missed, µs`]: rounded(micros),
      'of the smallest': ratio(micros, small.micros),
      'opening, ms': rounded(startMs),
      'opening, of the smallest': ratio(startMs, small.startMs),
    })
  }
  return { title: `A resume with ${missed} missed events, and a start, by what the log holds (median of ${readings} readings)`, rows }
}
