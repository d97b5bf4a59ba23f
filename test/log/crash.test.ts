import { expect, test } from 'vitest'
import { roomStream } from '../../src/core/target.ts'
import { eventTo, readPositions, until } from './entries.ts'
import { newFolder } from './folders.ts'
import { LogProcess } from './log-processes.ts'
import { openEmbedded } from './open-embedded.ts'

const rounds = 24

test('a process that is killed while it writes loses no entry that it acknowledged, and no position is given twice', {
  timeout: 60_000,
}, async () => {
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
    process.tell('storm 40')
    // Killed after that many answers, while many more are on their way: those before the end of the pipe count too.
    let left = Math.floor(Math.random() * 400)
    const last = new Map<unknown, number>()
    for (let said = await process.said(); said !== undefined; said = await process.said()) {
      if (left-- === 0) process.kill()
      if (said.position === undefined) {
        expect(said).toHaveProperty('storm')
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

test('a process that is killed while it trims leaves a log that is whole', { timeout: 60_000 }, async () => {
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
