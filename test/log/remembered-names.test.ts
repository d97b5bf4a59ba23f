import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { EmbeddedLog } from '../../src/log/embedded.ts'
import { newFolder } from './folders.ts'
import { LogProcess } from './log-processes.ts'
import { openEmbedded } from './open-embedded.ts'

const rowBytes = 44
const names = (count: number, prefix = 'n'): readonly string[] => Array.from({ length: count }, (_, index) => `${prefix}${index}`)
const filesOf = (folder: string): readonly string[] => ['names-1', 'names-2'].map((name) => join(folder, name)).filter((file) => existsSync(file))

/** Those that are new to it. */
async function newTo(log: EmbeddedLog, asked: readonly string[], forMs = 1000): Promise<readonly string[]> {
  const answers = await Promise.all(asked.map((name) => log.remember(name, forMs)))
  return asked.filter((_, index) => answers[index])
}

test('a name is known to whoever opens the log next, until its time is over', async () => {
  const folder = newFolder()
  const clock = { now: 1_000_000 }
  const open = async () => (await openEmbedded(folder, { now: () => clock.now })).log
  const first = await open()
  // Nobody asked yet: there is nothing to keep.
  expect(filesOf(folder)).toEqual([])
  expect(await newTo(first, names(300))).toEqual(names(300))
  expect(await newTo(first, ['long'], 5000)).toEqual(['long'])
  await first.close()
  clock.now += 999
  const second = await open()
  expect(await newTo(second, [...names(300), 'long', 'other'])).toEqual(['other'])
  await second.close()
  clock.now += 1
  const third = await open()
  expect(await newTo(third, ['n0', 'long', 'other'])).toEqual(['n0'])
  await third.close()
  clock.now += 4000
  expect(await newTo(await open(), ['long'])).toEqual(['long'])
})

test('a name is known when the process that was asked is killed', async () => {
  const folder = newFolder()
  const process = new LogProcess(folder)
  await process.said()
  expect(await process.ask('remember 7')).toBe(true)
  await process.end()
  const { log } = await openEmbedded(folder)
  expect(await newTo(log, ['7', '8'])).toEqual(['8'])
})

test('what is half written or damaged takes nothing else along', async () => {
  const folder = newFolder()
  const { log } = await openEmbedded(folder)
  for (const name of names(5)) await log.remember(name, 1e9)
  await log.close()
  const [file = ''] = filesOf(folder).filter((one) => statSync(one).size > rowBytes)
  const bytes = readFileSync(file)
  bytes.writeUInt8(bytes.readUInt8(rowBytes + 20) ^ 1, rowBytes + 20)
  writeFileSync(file, bytes)
  appendFileSync(file, Buffer.alloc(30, 1))
  const damaged = await openEmbedded(folder)
  expect(await newTo(damaged.log, names(5), 1e9)).toHaveLength(1)
  expect(await newTo(damaged.log, ['more'], 1e9)).toEqual(['more'])
  await damaged.log.close()
  expect(await newTo((await openEmbedded(folder)).log, [...names(5), 'more'])).toEqual([])
})

test('the files hold what is remembered now, and not what was', async () => {
  const folder = newFolder()
  const clock = { now: 1_000_000 }
  const { log } = await openEmbedded(folder, { now: () => clock.now })
  for (let round = 0; round < 40; round++) {
    await newTo(log, names(100, `r${round}:`))
    const rows = filesOf(folder).reduce((sum, file) => sum + statSync(file).size / rowBytes, 0)
    // The names of five rounds are not over.
    expect(rows).toBeLessThanOrEqual(1100)
    clock.now += 200
  }
  await log.close()
  const again = await openEmbedded(folder, { now: () => clock.now })
  expect(await newTo(again.log, names(100, 'r39:'))).toEqual([])
})

test('what cannot be remembered is refused, and taken when there is room again', async () => {
  const folder = newFolder()
  const process = new LogProcess(folder)
  await process.said()
  process.limitFileSize(10 * rowBytes + 10)
  const answers: unknown[] = []
  for (let n = 0; n < 30; n++) answers.push(await process.ask(`remember ${n}`))
  expect(answers.at(-1)).toEqual({ code: 'log_unavailable' })
  process.limitFileSize('unlimited')
  expect(await process.ask('remember 30')).toBe(true)
  await process.end()
  const { log } = await openEmbedded(folder)
  const taken = [...answers, true].flatMap((answer, n) => (answer === true ? [`${n}`] : []))
  expect(taken.length).toBeGreaterThan(10)
  expect(await newTo(log, taken)).toEqual([])
})
