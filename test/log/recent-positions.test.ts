import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { roomStream, type Stream } from '../../src/core/target.ts'
import { RecentPositions } from '../../src/log/recent-positions.ts'
import { eventTo, membership, onlyPosition, readPositions } from './entries.ts'
import { newFolder } from './folders.ts'
import { openEmbedded } from './open-embedded.ts'

const stream: Stream = roomStream('r')

test('a look from further behind answers one from further on, as far as it went to the end', () => {
  const recent = new RecentPositions()
  recent.keep(stream, { from: 3, positions: [4, 7, 9], ended: true })
  expect(recent.get(stream, 3)?.positions).toEqual([4, 7, 9])
  expect(recent.get(stream, 7)?.positions).toEqual([7, 9])
  expect(recent.get(stream, 10)?.positions).toEqual([])
  expect(recent.get(stream, 2)).toBeUndefined()
  expect(recent.get(roomStream('s'), 3)).toBeUndefined()
  recent.keep(stream, { from: 3, positions: [4, 7], ended: false })
  expect(recent.get(stream, 3)).toMatchObject({ positions: [4, 7], ended: false })
  expect(recent.get(stream, 7)).toBeUndefined()
  recent.clear()
  expect(recent.get(stream, 3)).toBeUndefined()
})

test('it keeps few of many', () => {
  const recent = new RecentPositions()
  const streams = Array.from({ length: 20_000 }, (_, index) => roomStream(`r${index}`))
  for (const one of streams) recent.keep(one, { from: 1, positions: [], ended: true })
  expect(streams.filter((one) => recent.get(one, 1) !== undefined).length).toBeLessThan(5000)
})

test('what was looked up before is found with all that has come since, in the memory and in the tables', async () => {
  const { log } = await openEmbedded(newFolder())
  const positions: number[] = []
  for (let round = 0; round < 40; round++) {
    expect(readPositions(log.read(0, [stream], 1000))).toEqual(positions)
    expect(readPositions(log.read(positions[4] ?? 0, [stream], 1000))).toEqual(positions.slice(positions.length > 4 ? 5 : 0))
    expect(log.memberships({ user: 'ada' }).size).toBe(Math.floor(positions.length / 2))
    positions.push(onlyPosition(await log.append([eventTo('r')])))
    if (round % 2 === 1) await log.append([membership({ user: 'ada' }, `room-${round}`, true)])
    // Some are read before they are in the tables, others after.
    await setTimeout(round)
  }
})
