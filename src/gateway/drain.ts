import { setTimeout } from 'node:timers/promises'
import { spread } from './spread.ts'

/** What is due within so long is done at once: a timer for each of thousands is no more exact. */
const stepMs = 10

const sliceMs = 100

/** What a drain was like, by the clock of this process. */
export interface Drained {
  readonly sessions: number
  readonly tookMs: number
  /** The most that were sent away within one of its tenths of a second. */
  readonly mostPer100Ms: number
}

/**
 * Sends all of them away, spread over a period. What was held up is made up for at no more than twice the pace, so that a process that stood still does not
 * send everybody at once to the others: within any `ms` there are at most `2 x (ms + 10) x all / periodMs + 2`.
 */
export async function drain<T>(all: readonly T[], periodMs: number, random: () => number, sendAway: (one: T) => void): Promise<Drained> {
  const moments = spread(all.length, periodMs, random)
  const leaving = all.map((one, index) => ({ one, at: moments[index] ?? 0 })).sort((one, other) => one.at - other.at)
  const startedAt = performance.now()
  const elapsed = (): number => performance.now() - startedAt
  let [due, before] = [0, 0]
  let [slice, inSlice, most] = [0, 0, 0]
  for (const { one, at } of leaving) {
    due = Math.max(at, Math.max(due, elapsed()) + (at - before) / 2)
    before = at
    const aheadMs = due - elapsed()
    if (aheadMs >= stepMs) await setTimeout(aheadMs)
    sendAway(one)
    const now = Math.floor(elapsed() / sliceMs)
    inSlice = now === slice ? inSlice + 1 : 1
    slice = now
    most = Math.max(most, inSlice)
  }
  return { sessions: all.length, tookMs: Math.round(elapsed()), mostPer100Ms: most }
}
