import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { roomStream } from '../../src/core/target.ts'
import { eventTo, readPositions, until } from './entries.ts'
import { newFolder } from './folders.ts'
import { LogProcess } from './log-processes.ts'
import { openEmbedded } from './open-embedded.ts'

const rounds = 12
const halfBytes = 2 ** 22

interface Half {
  readonly key: string
  readonly lap: number
}

/** How each half of the journal begins: with the key of the run that wrote it (16 bytes from 4 on) and the lap (4 from 20 on). */
function halvesIn(folder: string): readonly Half[] {
  const journal = openSync(join(folder, 'journal'), 'r')
  const halves = [0, halfBytes].map((start) => {
    const head = Buffer.alloc(24)
    readSync(journal, head, 0, head.length, start)
    return { key: head.toString('hex', 4, 20), lap: head.readUInt32BE(20) }
  })
  closeSync(journal)
  return halves
}

/** How often a run has turned to the other half, after one that has left `before`. */
function turnsIn(folder: string, before: readonly Half[]): number {
  const halves = halvesIn(folder)
  const isOfThisRun = halves[0]?.key === halves[1]?.key && !before.some(({ key }) => key === halves[0]?.key)
  return isOfThisRun ? Math.max(...halves.map(({ lap }) => lap)) - 1 : 0
}

test('a process that is killed while it writes loses no entry that it acknowledged, and no position is given twice', async () => {
  const folder = newFolder()
  const acknowledged = new Map<number, string>()
  const offsets = new Map<string, number>()
  let epoch: unknown
  for (let round = 0; round < rounds; round++) {
    const process = new LogProcess(folder, { durability: round % 4 === 3 ? 'process' : 'disk' })
    const opened = await process.said()
    epoch ??= opened?.opened
    expect(opened?.opened).toBe(epoch)
    expect(opened?.head).toBeGreaterThanOrEqual(Math.max(0, ...acknowledged.keys()))
    const before = halvesIn(folder)
    process.tell('storm 35')
    process.tell('flood 5')
    // Killed when it has just turned to the other half of its journal, that many answers later, while many others are on their way: those before the end of the
    // pipe count too.
    const turns = 2 + (round % 2)
    let left = Math.floor(Math.random() * 60)
    const last = new Map<unknown, number>()
    for (let said = await process.said(); said !== undefined; said = await process.said()) {
      if (turnsIn(folder, before) >= turns && left-- === 0) process.kill()
      if (said.position === undefined) {
        expect(Object.keys(said)).toEqual([expect.stringMatching(/^(storm|flood)$/)])
        continue
      }
      const position = Number(said.position)
      expect(acknowledged.has(position)).toBe(false)
      acknowledged.set(position, String(said.id))
      offsets.set(String(said.offset), position)
      expect(position).toBeGreaterThan(last.get(said.caller) ?? 0)
      last.set(said.caller, position)
    }
    await process.end()
    expect(turnsIn(folder, before)).toBeGreaterThanOrEqual(turns)
  }
  const { log } = await openEmbedded(folder)
  const found = new Map<number, string>()
  for (let after = 0; after < log.head(); ) {
    const reading = log.read(after, [roomStream('r')], 1000)
    if (reading.gap) throw new Error('gap')
    for (const { position, entry } of reading.entries) if (entry.kind === 'event') found.set(position, entry.id)
    after = reading.upTo
  }
  expect(acknowledged.size).toBeGreaterThan(rounds)
  expect([...acknowledged].filter(([position, id]) => found.get(position) !== id)).toEqual([])
  expect([...offsets].filter(([offset, position]) => log.positionOf(offset) !== position || log.offsetOf(position) !== offset)).toEqual([])
  // Dense: nothing was half-written either.
  expect([...found.keys()]).toEqual(Array.from({ length: log.head() }, (_, n) => n + 1))
  const ids = [...acknowledged].slice(-100)
  const repeated = await log.append(ids.map(([, id]) => eventTo('r', { id, digest: 'd' })))
  expect(repeated.map(({ outcome, position }) => [outcome, position])).toEqual(ids.map(([position]) => ['duplicate', position]))
})

test('a process that is killed while it trims leaves a log that is whole', async () => {
  const folder = newFolder()
  const retentionEvents = 300
  for (let round = 0; round < 8; round++) {
    const process = new LogProcess(folder, { retentionEvents })
    expect(await process.said()).toHaveProperty('opened')
    process.tell('storm 40')
    let left = 400 + Math.floor(Math.random() * 1500)
    for (let said = await process.said(); said !== undefined; said = await process.said()) if (left-- === 0) process.kill()
    await process.end()
  }
  const { log } = await openEmbedded(folder, { retentionEvents })
  await until(() => log.head() - log.first() < retentionEvents)
  const kept = Array.from({ length: log.head() - log.first() + 1 }, (_, n) => log.first() + n)
  expect(readPositions(log.read(log.first() - 1, [roomStream('r')], 1000))).toEqual(kept)
})
