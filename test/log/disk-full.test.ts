import { statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { roomStream } from '../../src/core/target.ts'
import { entriesOf, until } from './entries.ts'
import { newFolder } from './folders.ts'
import { LogProcess } from './log-processes.ts'
import { openEmbedded } from './open-embedded.ts'

test('a full disk refuses appends, is told by health, loses nothing, and the log goes on when there is room', async () => {
  const folder = newFolder()
  const process = new LogProcess(folder)
  await process.said()
  const acknowledged: unknown[] = []
  const append = async () => Object(await process.ask('append 3000'))
  for (let n = 0; n < 20; n++) acknowledged.push((await append()).id)

  process.limitFileSize(statSync(join(folder, 'log.mdb')).size + 100_000)
  let refused = await append()
  while (refused.id !== undefined) {
    acknowledged.push(refused.id)
    refused = await append()
  }
  expect(refused).toEqual({ code: 'log_unavailable', health: { appendable: false, reason: expect.any(String) }, head: acknowledged.length })
  // It is tried again and again, by appends and by the canary, and refuses without harm; what fits in free pages may pass.
  for (let n = 0; n < 10; n++) {
    const again = await append()
    if (again.id !== undefined) acknowledged.push(again.id)
    else expect(again).toMatchObject({ code: 'log_unavailable', health: { appendable: false }, head: acknowledged.length })
  }

  process.limitFileSize('unlimited')
  expect(await process.ask('appendable')).toBeNull()
  for (let n = 0; n < 20; n++) acknowledged.push((await append()).id)
  expect(acknowledged).not.toContain(undefined)
  expect(await process.ask('head')).toBe(acknowledged.length)
  expect(await process.ask('close')).toBeNull()
  await process.end()

  const { log } = await openEmbedded(folder)
  expect(entriesOf(log.read(0, [roomStream('r')], 10_000)).map(({ id }) => id)).toEqual(acknowledged)
})

test('a full disk is noticed without any traffic, and so is new room', async () => {
  const process = new LogProcess(newFolder())
  await process.said()
  expect(await process.ask('health')).toEqual({ appendable: true })
  process.limitFileSize(20_000)
  expect(await process.ask('unappendable')).toBeNull()
  process.limitFileSize('unlimited')
  expect(await process.ask('appendable')).toBeNull()
  expect(await process.ask('failures')).not.toEqual([])
  expect(await process.ask('append 10')).toMatchObject({ position: 1 })
})

test('a disk that takes everything but the journal is told by health until it takes that too', async () => {
  const folder = newFolder()
  const process = new LogProcess(folder)
  await process.said()
  const named = Object(await process.ask('named'))
  const acknowledged: unknown[] = [named.id]
  // The canary has been at the tables before it comes to the journal.
  const canaries = async () => {
    const changed = () => statSync(join(folder, 'log.mdb')).mtimeMs
    for (let count = 0; count < 12; count++) {
      const before = changed()
      await until(() => changed() !== before)
    }
  }

  // The first half of the journal lies before this, as all of the tables do; the second half lies behind it.
  process.limitFileSize(2 ** 22)
  let last = Object(await process.ask('volatile 100000'))
  while (last.id !== undefined) last = Object(await process.ask('volatile 100000'))
  expect(last).toMatchObject({ code: 'log_unavailable', health: { appendable: false } })
  await canaries()
  expect(await process.ask('health')).toMatchObject({ appendable: false })
  // Known already: nothing is written for it.
  expect(await process.ask('named')).toMatchObject({ position: named.position })
  expect(await process.ask('health')).toMatchObject({ appendable: false })
  // It has not been good in between.
  for (const again of ['volatile 100000', 'append 10']) expect(await process.ask(again)).toMatchObject({ code: 'log_unavailable' })
  expect(await process.ask('failures')).toHaveLength(1)

  process.limitFileSize('unlimited')
  expect(await process.ask('appendable')).toBeNull()
  for (let n = 0; n < 5; n++) {
    acknowledged.push(Object(await process.ask('append 3000')).id)
    await canaries()
  }
  for (let n = 0; n < 5; n++) acknowledged.push(Object(await process.ask('append 3000')).id)
  expect(acknowledged).not.toContain(undefined)
  await process.end()

  const { log } = await openEmbedded(folder)
  expect(entriesOf(log.read(0, [roomStream('r')], 10_000)).map(({ id }) => id)).toEqual(acknowledged)
})
