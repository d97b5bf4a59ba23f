import { statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { roomStream } from '../../src/core/target.ts'
import { eventTo, readPositions, until } from './entries.ts'
import { newFolder } from './folders.ts'
import { openEmbedded } from './open-embedded.ts'

test('the file stops growing under a steady load: the pages of what was trimmed are used again', async () => {
  const folder = newFolder()
  let clock = 1e12
  const { log } = await openEmbedded(folder, { retentionEvents: 1000, dedupeWindowMs: 1000, now: () => clock })
  const size = () => statSync(join(folder, 'log.mdb')).size
  const load = async (groups: number) => {
    for (let group = 0; group < groups; group++) {
      clock += 100
      await log.append(Array.from({ length: 100 }, (_, n) => eventTo(`r${n}`, { digest: 'd', data: JSON.stringify('z'.repeat((n * 97) % 6000)) })))
    }
  }
  await load(100)
  const settled = size()
  await load(200)
  expect(size()).toBeLessThan(settled * 1.5)
})

test('appends go on while much is trimmed, and a flood does not outrun the trimming', async () => {
  const folder = newFolder()
  const before = await openEmbedded(folder)
  for (let group = 0; group < 10; group++) await before.log.append(Array.from({ length: 2000 }, () => eventTo('r', { digest: 'd' })))
  await before.log.close()
  const { log, failures } = await openEmbedded(folder, { retentionEvents: 500 })
  const between: number[] = []
  while (log.first() <= 20_000) {
    await log.append(Array.from({ length: 20 }, () => eventTo('r')))
    between.push(log.first())
  }
  // Appends took turns with the trimming; they did not wait for its end.
  expect(new Set(between).size).toBeGreaterThan(5)
  await until(() => log.head() - log.first() === 499)
  expect(readPositions(log.read(log.first() - 1, [roomStream('r')], 1000))).toHaveLength(500)
  expect(failures).toEqual([])
})
