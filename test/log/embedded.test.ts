import { expect, test } from 'vitest'
import { EmbeddedLog } from '../../src/log/embedded.ts'
import { eventTo } from './entries.ts'
import { describeEventLog } from './event-log-suite.ts'
import { copyFolder, folderNamed, newFolder } from './folders.ts'
import { openEmbedded } from './open-embedded.ts'

for (const durability of ['disk', 'process'] as const) {
  describeEventLog(`the embedded log with durability ${durability}`, {
    open: ({ place, ...setup }) => EmbeddedLog.open({ ...setup, directory: folderNamed(place), durability, sweepMs: 5, canaryMs: 50 }),
    copy: async (from, to) => copyFolder(folderNamed(from), folderNamed(to)),
  })
}

test('what waits to be stored has a bound: beyond it appends are refused at once, and taken again when the disk has caught up', async () => {
  const { log } = await openEmbedded(newFolder())
  const batches = 64
  const appends = Array.from({ length: batches }, () => log.append(Array.from({ length: 1024 }, () => eventTo('r'))))
  await expect(log.append([eventTo('r')])).rejects.toMatchObject({ code: 'log_unavailable' })
  expect((await Promise.all(appends)).flat()).toHaveLength(batches * 1024)
  expect(await log.append([eventTo('r')])).toHaveLength(1)
})

test('who appends on and on leaves the event loop to others in between', async () => {
  const { log } = await openEmbedded(newFolder(), { durability: 'process' })
  let turns = 0
  let immediate = setImmediate(function count() {
    turns++
    immediate = setImmediate(count)
  })
  const seen: number[] = []
  for (let n = 0; n < 200; n++) {
    await log.append([eventTo('r')])
    seen.push(turns)
  }
  clearImmediate(immediate)
  expect(new Set(seen).size).toBeGreaterThan(150)
})
