import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { open as openLmdb } from 'lmdb'
import { describe, expect, test } from 'vitest'
import { roomStream } from '../../src/core/target.ts'
import { eventTo } from './entries.ts'
import { newFolder } from './folders.ts'
import { LogProcess } from './log-processes.ts'
import { openEmbedded } from './open-embedded.ts'

/** A folder with a log of this many entries that was closed. */
async function writtenFolder(entries = 2000): Promise<{ readonly folder: string; readonly file: string; readonly epoch: string }> {
  const folder = newFolder()
  const { log } = await openEmbedded(folder)
  await log.append(Array.from({ length: entries }, (_, n) => eventTo('r', { digest: 'd', data: JSON.stringify('y'.repeat(n % 300)) })))
  await log.close()
  return { folder, file: join(folder, 'log.mdb'), epoch: log.epoch }
}

async function editFormat(file: string, edit: (format: Readonly<Record<string, unknown>>) => unknown): Promise<void> {
  const root = openLmdb<Buffer, Buffer>({ path: file, noSubdir: true, encoding: 'binary', keyEncoding: 'binary', overlappingSync: false })
  const meta = root.openDB<Buffer, Buffer>({ name: 'meta', encoding: 'binary', keyEncoding: 'binary' })
  const key = Buffer.from('format')
  meta.putSync(key, Buffer.from(JSON.stringify(edit(JSON.parse(String(meta.get(key)))))))
  await root.close()
}

describe('a data folder', () => {
  test('is created with its parents, also where the path is long', async () => {
    const folder = join(newFolder(), 'x'.repeat(120), 'y'.repeat(120))
    const { log } = await openEmbedded(folder)
    await log.append([eventTo('r')])
    await expect(openEmbedded(folder)).rejects.toMatchObject({ code: 'log_in_use' })
  })

  test('that is a file is refused', async () => {
    const path = newFolder()
    writeFileSync(path, 'mine')
    await expect(openEmbedded(path)).rejects.toMatchObject({ code: 'log_foreign', message: expect.stringContaining(path) })
    await expect(openEmbedded(join(path, 'log'))).rejects.toMatchObject({ code: 'log_foreign' })
    expect(readFileSync(path, 'utf8')).toBe('mine')
  })

  test.runIf(process.platform === 'linux')('that can never be made is refused, and not tried for ever', async () => {
    await expect(openEmbedded('/proc/sidecast/log')).rejects.toMatchObject({ code: 'log_read_only', message: expect.stringContaining('ENOENT') })
  })

  test('in which the start was interrupted starts anew', async () => {
    const folder = newFolder()
    mkdirSync(folder)
    writeFileSync(join(folder, 'log.mdb.new'), 'half')
    const { log } = await openEmbedded(folder)
    expect(log.head()).toBe(0)
    expect(readdirSync(folder)).not.toContain('log.mdb.new')
  })

  test('of a user who may not write is refused', async () => {
    const { folder } = await writtenFolder(1)
    chmodSync(folder, 0o555)
    // Root ignores the permission bits, so it becomes somebody else.
    const user = process.getuid?.() === 0 ? { user: 65534 } : {}
    chmodSync(join(folder, '..'), 0o755)
    expect(await new LogProcess(folder, user).said()).toMatchObject({ code: 'log_read_only', message: expect.stringContaining(folder) })
    expect(await new LogProcess(join(folder, 'new'), user).said()).toMatchObject({ code: 'log_read_only', message: expect.stringContaining(folder) })
    chmodSync(folder, 0o777)
    chmodSync(join(folder, 'log.mdb'), 0o444)
    expect(await new LogProcess(folder, user).said()).toMatchObject({ code: 'log_read_only', message: expect.stringContaining('log.mdb') })
  })
})

describe('a data folder in use', () => {
  test('is refused to another process, and free at once when its owner is killed', async () => {
    const folder = newFolder()
    let owner = new LogProcess(folder)
    expect(await owner.said()).toHaveProperty('opened')
    for (let round = 0; round < 5; round++) {
      expect(await new LogProcess(folder).said()).toMatchObject({ code: 'log_in_use', message: expect.stringContaining(folder) })
      await owner.end()
      owner = new LogProcess(folder)
      expect(await owner.said()).toHaveProperty('opened')
    }
  })

  test('is refused inside the same process until it is closed', async () => {
    const folder = newFolder()
    const { log } = await openEmbedded(folder)
    await expect(openEmbedded(folder)).rejects.toMatchObject({ code: 'log_in_use' })
    await log.append([eventTo('r')])
    await log.close()
    expect((await openEmbedded(folder)).log.head()).toBe(1)
  })

  test('goes to one of many that want it at once', async () => {
    for (let round = 0; round < 10; round++) {
      const folder = newFolder()
      for (let owners = 0; owners < 3; owners++) {
        const results = await Promise.allSettled(Array.from({ length: 8 }, () => openEmbedded(folder)))
        const winners = results.filter((result) => result.status === 'fulfilled')
        expect(winners).toHaveLength(1)
        for (const { value } of winners) await value.log.close()
      }
      expect(readdirSync(folder).filter((name) => name.startsWith('owner.'))).toHaveLength(1)
    }
  })

  test('stays refused while its owner is stopped', async () => {
    const folder = newFolder()
    const owner = new LogProcess(folder)
    await owner.said()
    owner.stop()
    expect(await new LogProcess(folder).said()).toMatchObject({ code: 'log_in_use' })
  })
})

describe('a file that is not this log', () => {
  test('of random bytes is refused and left alone', async () => {
    const folder = newFolder()
    mkdirSync(folder)
    const bytes = crypto.getRandomValues(Buffer.alloc(50_000))
    writeFileSync(join(folder, 'log.mdb'), bytes)
    await expect(openEmbedded(folder)).rejects.toMatchObject({ code: 'log_foreign', message: expect.stringContaining(folder) })
    expect(readFileSync(join(folder, 'log.mdb'))).toEqual(bytes)
  })

  test('of another application that uses LMDB is refused and left alone', async () => {
    const folder = newFolder()
    mkdirSync(folder)
    const file = join(folder, 'log.mdb')
    for (const name of ['theirs', 'meta']) {
      const root = openLmdb({ path: file, noSubdir: true })
      await root.openDB({ name }).put('a', 1)
      await root.close()
      const bytes = readFileSync(file)
      await expect(openEmbedded(folder)).rejects.toMatchObject({ code: 'log_foreign', message: expect.stringContaining(folder) })
      expect(readFileSync(file)).toEqual(bytes)
    }
  })

  test('of a newer version is refused', async () => {
    const { folder, file } = await writtenFolder(1)
    await editFormat(file, (format) => ({ ...format, version: 3 }))
    await expect(openEmbedded(folder)).rejects.toMatchObject({ code: 'log_foreign', message: expect.stringContaining('version 3') })
  })
})

describe('a damaged file', () => {
  test('that is empty or truncated is refused', async () => {
    const { folder, file } = await writtenFolder()
    const whole = usedPages(file) * 4096
    for (const size of [whole - 4096 * 20, Math.floor(whole / 2), 8192, 5000, 4096, 100, 0]) {
      truncateSync(file, size)
      const rejection = expect(openEmbedded(folder)).rejects
      // So little that it could be anything.
      await rejection.toMatchObject({ code: size === 100 ? 'log_foreign' : 'log_damaged', message: expect.stringContaining(folder) })
    }
  })

  test('with zeroed or overwritten pages never ends the process: it is refused, or what is damaged is, or the page was not in use', async () => {
    const { folder, file } = await writtenFolder()
    const copy = `${file}.copy`
    copyFileSync(file, copy)
    const pages = usedPages(file)
    const found = { opening: 0, reading: 0, unused: 0 }
    for (let page = 2; page < pages; page++) {
      copyFileSync(copy, file)
      overwrite(file, page * 4096, page % 2 === 0 ? Buffer.alloc(4096) : crypto.getRandomValues(Buffer.alloc(4096)))
      found[await findDamage(folder)]++
    }
    expect(found.opening).toBeGreaterThan(found.unused)
  })

  test('with changed bytes in its entries refuses to read them, and reads the others', async () => {
    const { folder, file } = await writtenFolder(10)
    const { log } = await openEmbedded(folder)
    await log.append([eventTo('r', { data: '"find me"' })])
    await log.close()
    const bytes = readFileSync(file)
    // Copy on write leaves older copies of the page.
    for (let at = bytes.indexOf('"find me"'); at !== -1; at = bytes.indexOf('"find me"', at + 1)) overwrite(file, at, Buffer.from('"lose me"'))
    const again = await openEmbedded(folder)
    expect(() => again.log.read(0, [roomStream('r')], 100)).toThrow(expect.objectContaining({ code: 'log_damaged' }))
    expect(again.log.read(0, [roomStream('r')], 10)).toMatchObject({ more: true })
    // Also whoever is in so many rooms that each entry is looked at.
    const others = Array.from({ length: 100 }, (_, n) => roomStream(`other ${n}`))
    expect(again.log.read(0, others, 10)).toEqual({ gap: false, entries: [], upTo: again.log.head(), more: false })
    expect(() => again.log.read(0, [...others, roomStream('r')], 100)).toThrow(expect.objectContaining({ code: 'log_damaged' }))
  })
})

describe('durability process', () => {
  test('keeps the epoch when the process was killed', async () => {
    const folder = newFolder()
    const process = new LogProcess(folder, { durability: 'process' })
    const { opened } = Object(await process.said())
    await process.ask('append 10')
    await process.end()
    const { log } = await openEmbedded(folder)
    expect([log.epoch, log.head()]).toEqual([opened, 1])
  })

  test('takes a new epoch when the machine went down, since positions that clients saw may be given out again', async () => {
    const folder = newFolder()
    const process = new LogProcess(folder, { durability: 'process' })
    const { opened } = Object(await process.said())
    await process.ask('append 10')
    await process.end()
    await editFormat(join(folder, 'log.mdb'), (format) => {
      expect(format).toHaveProperty('unsynced')
      return { ...format, unsynced: 'another boot' }
    })
    const { log } = await openEmbedded(folder)
    expect(log.epoch).not.toBe(opened)
    await log.close()
    expect((await openEmbedded(folder)).log.epoch).toBe(log.epoch)
  })
})

/** Without the space behind them that is held ready. */
function usedPages(file: string): number {
  const bytes = readFileSync(file)
  let pages = bytes.length / 4096
  while (bytes.subarray((pages - 1) * 4096, pages * 4096).every((byte) => byte === 0)) pages--
  return pages
}

function overwrite(file: string, at: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+')
  writeSync(fd, bytes, 0, bytes.length, at)
  closeSync(fd)
}

async function findDamage(folder: string): Promise<'opening' | 'reading' | 'unused'> {
  try {
    const { log } = await openEmbedded(folder)
    try {
      log.read(0, [roomStream('r')], 10_000)
      await log.append([eventTo('r')])
      return 'unused'
    } catch (error) {
      expect(error).toMatchObject({ code: 'log_damaged' })
      return 'reading'
    } finally {
      await log.close()
    }
  } catch (error) {
    expect(error).toMatchObject({ code: expect.stringMatching(/^log_(damaged|foreign)$/) })
    expect(existsSync(join(folder, 'log.mdb'))).toBe(true)
    return 'opening'
  }
}
