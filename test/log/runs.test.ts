import { join } from 'node:path'
import { open as openLmdb } from 'lmdb'
import { expect, test } from 'vitest'
import type { EventLog } from '../../src/core/event-log.ts'
import { eventTo, onlyPosition, until } from './entries.ts'
import { copyFolder, newFolder } from './folders.ts'
import { openEmbedded } from './open-embedded.ts'

/** Nothing is written but what is appended. */
const quiet = { sweepMs: 1e9, canaryMs: 1e9 }

async function appendOne(log: EventLog): Promise<string> {
  return log.offsetOf(onlyPosition(await log.append([eventTo('r')])))
}

/** The runs that stand in the file of a closed log, changed by `edit`. */
async function runsIn(folder: string, edit: (remove: (key: Buffer) => void, put: (key: Buffer, value: Buffer) => void) => void = () => {}) {
  const encoding = { encoding: 'binary', keyEncoding: 'binary' } as const
  const root = openLmdb<Buffer, Buffer>({ path: join(folder, 'log.mdb'), noSubdir: true, overlappingSync: false, ...encoding })
  const table = root.openDB<Buffer, Buffer>({ name: 'runs', ...encoding })
  edit(
    (key) => table.removeSync(key),
    (key, value) => table.putSync(key, value),
  )
  const runs = [...table.getRange({})].map(({ key, value }) => ({ key: Buffer.from(key), id: value.toString() }))
  await root.close()
  return runs
}

test('a snapshot of a running log that is put back: what the same run gave out after it is none of its offsets', async () => {
  for (const appendedBefore of [0, 1, 3]) {
    const [folder, snapshot] = [newFolder(), newFolder()]
    const { log } = await openEmbedded(folder, quiet)
    const before = [log.offsetOf(0)]
    for (let count = 0; count < appendedBefore; count++) before.push(await appendOne(log))
    copyFolder(folder, snapshot)
    const lost = [await appendOne(log), await appendOne(log)]
    for (let round = 0; round < 3; round++) {
      const restored = (await openEmbedded(snapshot, quiet)).log
      for (let count = 0; count < 4; count++) {
        expect(lost.map((offset) => restored.positionOf(offset))).toEqual([undefined, undefined])
        expect(before.map((offset) => restored.positionOf(offset))).toEqual(before.map((_, position) => position))
        await appendOne(restored)
      }
      await restored.close()
    }
    // The other one is not disturbed by it.
    expect(lost.map((offset) => log.positionOf(offset))).toEqual([appendedBefore + 1, appendedBefore + 2])
  }
})

test('two logs that go on from one copy do not take the offsets of each other', async () => {
  const [folder, twin] = [newFolder(), newFolder()]
  const first = (await openEmbedded(folder, quiet)).log
  const common = await appendOne(first)
  await first.close()
  copyFolder(folder, twin)
  const [one, other] = [(await openEmbedded(folder, quiet)).log, (await openEmbedded(twin, quiet)).log]
  const [ofOne, ofOther] = [await appendOne(one), await appendOne(other)]
  expect([one, other].map((log) => [common, ofOne, ofOther].map((offset) => log.positionOf(offset)))).toEqual([
    [1, 2, undefined],
    [1, undefined, 2],
  ])
})

test('runs that stored nothing leave nothing behind, and those of what was trimmed are forgotten', async () => {
  const folder = newFolder()
  for (let round = 0; round < 10; round++) await (await openEmbedded(folder)).log.close()
  expect(await runsIn(folder)).toHaveLength(1)
  for (let round = 0; round < 20; round++) {
    const { log } = await openEmbedded(folder, { retentionEvents: 3 })
    await appendOne(log)
    await until(() => log.head() - log.first() < 3)
    await log.close()
  }
  const runs = await runsIn(folder)
  expect(runs.length).toBeLessThanOrEqual(5)
  for (let round = 0; round < 10; round++) await (await openEmbedded(folder)).log.close()
  expect(await runsIn(folder)).toEqual(runs)
})

test('a folder from before there were runs is read; the offsets from then are gaps', async () => {
  const folder = newFolder()
  const { log } = await openEmbedded(folder)
  await appendOne(log)
  const before = await appendOne(log)
  await log.close()
  const runs = await runsIn(folder)
  expect(await runsIn(folder, (remove) => runs.forEach(({ key }) => void remove(key)))).toEqual([])
  const again = (await openEmbedded(folder)).log
  expect([again.head(), again.positionOf(before), again.positionOf(`${again.epoch}-2`)]).toEqual([2, undefined, undefined])
  const now = again.offsetOf(2)
  expect(again.positionOf(now)).toBe(2)
  await again.close()
  const last = (await openEmbedded(folder)).log
  expect([last.positionOf(now), last.positionOf(await appendOne(last))]).toEqual([2, 3])
})

test('runs that cannot be are damage', async () => {
  const folder = newFolder()
  const { log } = await openEmbedded(folder)
  await log.close()
  const [first] = await runsIn(folder)
  for (const id of ['', 'short', 'longer7', 'UPPERS', '"quot"']) {
    await runsIn(folder, (_, put) => put(first?.key ?? Buffer.alloc(8), Buffer.from(id)))
    await expect(openEmbedded(folder)).rejects.toMatchObject({ code: 'log_damaged' })
  }
  await runsIn(folder, (_, put) => put(first?.key ?? Buffer.alloc(8), Buffer.from('abcdef')))
  expect((await openEmbedded(folder)).log.head()).toBe(0)
})
