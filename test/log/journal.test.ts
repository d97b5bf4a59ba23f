import { closeSync, copyFileSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { changesStream } from '../../src/core/entry.ts'
import type { EventLog } from '../../src/core/event-log.ts'
import { roomStream } from '../../src/core/target.ts'
import { disconnect, eventTo, membership, readPositions, until } from './entries.ts'
import { copyFolder, newFolder } from './folders.ts'
import { openEmbedded } from './open-embedded.ts'

// What is accepted stands in the journal first; the tables follow. A copy of the folder of a running log is what a process leaves behind that is killed.
const quiet = { sweepMs: 1e9, canaryMs: 1e9 }

async function readAll(log: EventLog): Promise<readonly number[]> {
  return readPositions(log.read(0, [roomStream('r')], 1e6))
}

function upTo(head: number): readonly number[] {
  return Array.from({ length: head }, (_, n) => n + 1)
}

for (const durability of ['disk', 'process'] as const) {
  test(`durability ${durability}: what the tables do not have yet is found, and is there after a kill`, async () => {
    const [folder, left] = [newFolder(), newFolder()]
    const { log } = await openEmbedded(folder, { ...quiet, durability })
    const named = eventTo('r', { id: 'named', digest: 'd' })
    await log.append([eventTo('r')])
    await log.append([named, eventTo('r', { volatile: true }), membership({ user: 'u' }, 'r', true), disconnect({ user: 'v' })])
    await log.append([membership({ user: 'u' }, 'r', false), eventTo('r')])
    copyFolder(folder, left)
    const after = (await openEmbedded(left, quiet)).log
    for (const one of [log, after]) {
      expect([one.head(), readPositions(one.read(0, [roomStream('r')], 100))]).toEqual([7, [1, 2, 7]])
      expect(await one.append([named, eventTo('r', { id: 'named', digest: 'other' })])).toMatchObject([
        { outcome: 'duplicate', position: 2 },
        { outcome: 'conflict', position: 2 },
      ])
      expect(one.memberships({ user: 'u' }).get('r')).toMatchObject({ present: false, position: 6 })
      expect(one.read(0, [changesStream({ user: 'u' }), changesStream({ user: 'v' })], 100)).toMatchObject({
        entries: [{ position: 4 }, { position: 5, entry: { kind: 'disconnect' } }, { position: 6, was: { present: true, position: 4 } }],
      })
    }
    // The copy goes on where the other one was, and what it has accepted is there after the next kill.
    await after.append([eventTo('r')])
    await after.append([eventTo('r')])
    const again = newFolder()
    copyFolder(left, again)
    expect((await openEmbedded(again, quiet)).log.head()).toBe(9)
  })
}

test('a stream is read whole at any time while the tables follow', async () => {
  const { log } = await openEmbedded(newFolder())
  for (let round = 0; round < 60; round++) {
    await log.append(Array.from({ length: 50 }, () => eventTo('r', { digest: 'd' })))
    expect(await readAll(log)).toEqual(upTo(log.head()))
  }
})

test('however fast entries come, no more than so many of them wait for the tables', async () => {
  const { log } = await openEmbedded(newFolder(), quiet)
  const waiting: number[] = []
  const publish = async (): Promise<void> => {
    for (let round = 0; round < 15; round++) {
      await log.append(Array.from({ length: 500 }, (_, n) => eventTo(`${n}`)))
      waiting.push(log.share().tail.length)
    }
  }
  await Promise.all(Array.from({ length: 4 }, publish))
  expect(Math.max(...waiting)).toBeLessThanOrEqual(8192)
})

test('an id that is used again after its window is known when the commit that brings it to the tables takes the old one away', async () => {
  let clock = 1e12
  const folder = newFolder()
  const options = { ...quiet, now: () => clock, dedupeWindowMs: 1000, retentionEvents: 1 }
  const { log } = await openEmbedded(folder, options)
  const named = eventTo('r', { id: 'named', digest: 'd' })
  // The first entries of a run go to the tables at once, and these are so many more than are kept that the next commit tidies up.
  await log.append([named, ...Array.from({ length: 200 }, () => eventTo('r'))])
  clock += 1000
  const [again] = await log.append([named])
  expect(again).toMatchObject({ outcome: 'stored', position: 202 })
  await until(() => log.first() > 1)
  expect(await log.append([named])).toEqual([{ ...again, outcome: 'duplicate' }])
  await log.close()
  expect(await (await openEmbedded(folder, options)).log.append([named])).toEqual([{ ...again, outcome: 'duplicate' }])
})

test('more than the journal has room for goes through it, and nothing is missing after a kill', async () => {
  const [folder, left] = [newFolder(), newFolder()]
  const { log } = await openEmbedded(folder, quiet)
  const data = JSON.stringify('x'.repeat(150_000))
  for (let n = 0; n < 90; n++) await log.append([eventTo('r', { data })])
  // By itself more than half of the journal.
  await log.append(Array.from({ length: 40 }, () => eventTo('r', { data })))
  await log.append([eventTo('r', { data })])
  copyFolder(folder, left)
  const after = (await openEmbedded(left, quiet)).log
  expect(await readAll(after)).toEqual(upTo(131))
})

test('of a journal with a broken or missing end, whole groups are taken, up to the first that is not', async () => {
  const [folder, left] = [newFolder(), newFolder()]
  const { log } = await openEmbedded(folder, quiet)
  await log.append([eventTo('r')])
  // The tables as they are now, however soon they follow.
  copyFolder(folder, left)
  for (let n = 0; n < 10; n++) await log.append([eventTo('r'), eventTo('r')])
  copyFileSync(join(folder, 'journal'), join(left, 'journal'))
  const journal = readFileSync(join(left, 'journal'))
  const end = journal.findLastIndex((byte) => byte !== 0) + 1
  const heads: number[] = []
  for (const at of [end - 1, end - 200, Math.floor(end / 2), 30, 10, 0]) {
    for (const damage of ['changed', 'cut'] as const) {
      const broken = newFolder()
      copyFolder(left, broken)
      writeFileSync(join(broken, 'journal'), damage === 'cut' ? journal.subarray(0, at) : journal)
      if (damage === 'changed') overwrite(join(broken, 'journal'), at, Buffer.from([(journal[at] ?? 0) ^ 1]))
      const { log: opened } = await openEmbedded(broken, quiet)
      expect(await readAll(opened)).toEqual(upTo(opened.head()))
      expect(opened.head() % 2).toBe(1)
      heads.push(opened.head())
      expect(await opened.append([eventTo('r')])).toMatchObject([{ outcome: 'stored', position: opened.head() }])
    }
  }
  expect([Math.max(...heads), Math.min(...heads)]).toEqual([19, 1])
})

test('a journal that does not go on where the file ends is not taken', async () => {
  const [folder, older] = [newFolder(), newFolder()]
  const { log } = await openEmbedded(folder, quiet)
  await log.append([eventTo('r')])
  copyFolder(folder, older)
  // This one is written to the tables directly.
  await log.append([{ kind: 'session-ended', session: 's' }])
  await log.append([eventTo('r')])
  copyFileSync(join(folder, 'journal'), join(older, 'journal'))
  expect((await openEmbedded(older, quiet)).log.head()).toBe(1)
})

test('what another run has written to the journal is not taken for this one', async () => {
  const [folder, older] = [newFolder(), newFolder()]
  const lost = (await openEmbedded(folder, quiet)).log
  await lost.append([eventTo('r')])
  copyFolder(folder, older)
  for (let n = 0; n < 2; n++) await lost.append([eventTo('r')])
  const restored = (await openEmbedded(older, quiet)).log
  await restored.append([eventTo('r')])
  await restored.close()
  // It would go on where the restored one ends.
  copyFileSync(join(folder, 'journal'), join(older, 'journal'))
  expect((await openEmbedded(older, quiet)).log.head()).toBe(2)
})

function overwrite(file: string, at: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+')
  writeSync(fd, bytes, 0, bytes.length, at)
  closeSync(fd)
}
