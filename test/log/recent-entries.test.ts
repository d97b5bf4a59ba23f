import { expect, test } from 'vitest'
import { RecentEntries } from '../../src/log/recent-entries.ts'
import { eventTo } from './entries.ts'

test('what was read lately is found again, and what was read long ago is let go of', () => {
  const recent = new RecentEntries()
  const count = 50_000
  const entries = Array.from({ length: count }, (_, index) => ({ position: index + 1, time: 0, entry: eventTo('r') }))
  for (const stored of entries) recent.keep(stored, 200)
  const kept = entries.filter((stored) => recent.get(stored.position) !== undefined)
  expect(kept).toEqual(entries.slice(-kept.length))
  expect(kept.length).toBeGreaterThan(1000)
  expect(kept.length).toBeLessThan(count / 2)
  for (const stored of kept) expect(recent.get(stored.position)).toBe(stored)
  recent.clear()
  expect(entries.filter(({ position }) => recent.get(position) !== undefined)).toEqual([])
})

test('a few large ones take the place of many small ones', () => {
  const recent = new RecentEntries()
  for (let position = 1; position <= 100; position++) recent.keep({ position, time: 0, entry: eventTo('r') }, 2 ** 20)
  const kept = Array.from({ length: 100 }, (_, index) => index + 1).filter((position) => recent.get(position) !== undefined)
  expect(kept.length).toBeLessThanOrEqual(8)
  expect(kept.at(-1)).toBe(100)
})
