import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Pace } from '../src/core/pace.ts'

function hold(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

test('of those who have much to do one goes on in a turn, in order, and others are served between', async () => {
  const pace = new Pace()
  const done: number[] = []
  const work = async (index: number) => {
    for (let round = 0; round < 3; round++) {
      await pace.next()
      // More than there is time for in one turn.
      hold(15)
      done.push(index)
    }
  }
  const all = Promise.all(Array.from({ length: 4 }, (_, index) => work(index)))
  const seen: number[] = []
  while (done.length < 12) {
    await setImmediate()
    seen.push(done.length)
  }
  await all
  expect(done).toEqual([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3])
  expect(seen.every((count, turn) => count - (seen[turn - 1] ?? 0) <= 1)).toBe(true)
})
