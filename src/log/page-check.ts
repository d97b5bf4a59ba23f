import { readSync } from 'node:fs'
import { BridgeError } from '../errors.ts'

// LMDB trusts its file: a wrong page ends the process by a signal, where nothing can be caught. So the file is read here first, in plain
// JavaScript, with the layout of mdb.c (data version 2, 64 bit, little-endian). Every page that LMDB could follow is checked: its number,
// kind, bounds, that no page is used twice, that each tree has as many entries as its root says, and that nothing lies beyond the end of
// the file. The content of values is left to the checksum of each record.
const magic = 0xbeefc0de
const dataVersion = 2
const pageHeader = 24
const metaBytes = 24 + 8 * 6 + 48 * 2
const noRoot = 0xffffffffffffffffn
const branchFlag = 0x01
const leafFlag = 0x02
const metaFlag = 0x08
// The others are marks that LMDB leaves behind while it works.
const kindFlags = 0x7f
const bigData = 0x01
const subData = 0x02

interface Tree {
  readonly depth: number
  readonly entries: number
  readonly root: number | undefined
}

/** The rows of one small tree, by key. */
export type Rows = ReadonlyMap<string, Buffer>

/**
 * Reads a whole LMDB file without LMDB.
 * @returns the rows of the named tree; undefined when there is no such tree: the file belongs to another application.
 * @throws BridgeError log_foreign, log_damaged
 */
export function checkPages(fd: number, size: number, path: string, treeName: string): Rows | undefined {
  return new PageCheck(fd, size, path).run(treeName)
}

class PageCheck {
  readonly #fd: number
  readonly #size: number
  readonly #path: string
  #pageSize = 4096
  #lastPage = 0
  #used = new Uint8Array()

  constructor(fd: number, size: number, path: string) {
    this.#fd = fd
    this.#size = size
    this.#path = path
  }

  run(treeName: string): Rows | undefined {
    const { free, main } = this.#readMetas()
    this.#used = new Uint8Array(Math.ceil(this.#size / this.#pageSize))
    this.#walk(free, () => undefined)
    const trees = new Map<string, Tree>()
    this.#walk(main, (key, flags, data) => {
      // lmdb-js ends the names of tables with a NUL.
      if ((flags & subData) !== 0 && data.length === 48) trees.set(key.toString().replace(/\0$/, ''), readTree(data, 0))
    })
    const rows = new Map<string, Buffer>()
    for (const [name, tree] of trees) {
      this.#walk(tree, name === treeName ? (key, _flags, data) => rows.set(key.toString(), Buffer.from(data)) : undefined)
    }
    return trees.has(treeName) ? rows : undefined
  }

  /** The two meta pages take turns; the one of the newer transaction counts, and both have to be sound. */
  #readMetas(): { readonly free: Tree; readonly main: Tree } {
    if (this.#size === 0) throw this.#damaged('is empty')
    const first = this.#readMeta(0)
    const pageSize = first?.readUInt32LE(24) ?? 4096
    const second = this.#readMeta(pageSize)
    if (first === undefined && second === undefined) {
      throw new BridgeError('log_foreign', `${this.#path} is not an event log: move the file away, or choose another data folder`)
    }
    if (first === undefined || second === undefined) throw this.#damaged('is truncated, or its first pages are broken')
    for (const meta of [first, second]) {
      if ((meta.readUInt32LE(4) & 0xffff) !== dataVersion) {
        throw new BridgeError(
          'log_foreign',
          `${this.#path} was written by another version of LMDB: start the version of Sidecast that wrote it, or choose another data folder`,
        )
      }
    }
    if (pageSize < 512 || pageSize > 65536 || (pageSize & (pageSize - 1)) !== 0) throw this.#damaged('has a broken first page')
    const meta = first.readBigUInt64LE(128) >= second.readBigUInt64LE(128) ? first : second
    this.#pageSize = pageSize
    this.#lastPage = Number(meta.readBigUInt64LE(120))
    return { free: readTree(meta, 24), main: readTree(meta, 72) }
  }

  /** From the magic on; undefined when these bytes are no meta page. */
  #readMeta(offset: number): Buffer | undefined {
    const bytes = Buffer.alloc(metaBytes)
    if (readSync(this.#fd, bytes, 0, metaBytes, offset) !== metaBytes) return undefined
    const meta = bytes.subarray(pageHeader)
    return (bytes.readUInt16LE(18) & metaFlag) !== 0 && meta.readUInt32LE(0) === magic ? meta : undefined
  }

  #walk(tree: Tree, onRow: ((key: Buffer, flags: number, data: Buffer) => void) | undefined): void {
    if (tree.root === undefined) {
      if (tree.entries !== 0) throw this.#damaged('has a tree without its root')
      return
    }
    const entries = this.#walkPage(tree.root, tree.depth, onRow)
    if (entries !== tree.entries) throw this.#damaged(`has ${entries} instead of ${tree.entries} entries in a tree`)
  }

  #walkPage(number: number, depth: number, onRow: ((key: Buffer, flags: number, data: Buffer) => void) | undefined): number {
    const page = this.#readPage(number, depth === 1 ? leafFlag : branchFlag)
    const lower = page.readUInt16LE(20)
    const upper = page.readUInt16LE(22)
    const room = this.#pageSize - pageHeader
    if (lower > upper || upper > room || lower < 2 || (lower & 1) !== 0) throw this.#broken(number)
    let entries = 0
    for (let pointer = pageHeader; pointer < pageHeader + lower; pointer += 2) {
      const offset = page.readUInt16LE(pointer)
      if (offset < upper || offset + 8 > room) throw this.#broken(number)
      const node = offset + pageHeader
      const flags = page.readUInt16LE(node + 4)
      const low = page.readUInt32LE(node)
      const keyEnd = node + 8 + page.readUInt16LE(node + 6)
      if (keyEnd > this.#pageSize) throw this.#broken(number)
      if (depth > 1) {
        entries += this.#walkPage(low + flags * 2 ** 32, depth - 1, onRow)
        continue
      }
      entries++
      const dataEnd = keyEnd + ((flags & bigData) === 0 ? low : 24)
      if (dataEnd > this.#pageSize || (flags & ~(bigData | subData)) !== 0) throw this.#broken(number)
      if ((flags & bigData) !== 0) this.#useOverflow(page, keyEnd, low)
      onRow?.(page.subarray(node + 8, keyEnd), flags, page.subarray(keyEnd, dataEnd))
    }
    return entries
  }

  #useOverflow(page: Buffer, at: number, dataBytes: number): void {
    const number = Number(page.readBigUInt64LE(at))
    const pages = Number(page.readBigUInt64LE(at + 16))
    if (pages !== Math.floor((pageHeader - 1 + dataBytes) / this.#pageSize) + 1) throw this.#broken(number)
    for (let used = number; used < number + pages; used++) this.#use(used)
  }

  #readPage(number: number, flag: number): Buffer {
    this.#use(number)
    const page = Buffer.allocUnsafe(this.#pageSize)
    readSync(this.#fd, page, 0, this.#pageSize, number * this.#pageSize)
    if (Number(page.readBigUInt64LE(0)) !== number || (page.readUInt16LE(18) & kindFlags) !== flag) throw this.#broken(number)
    return page
  }

  #use(number: number): void {
    if (number > this.#lastPage || number < 2) throw this.#broken(number)
    if ((number + 1) * this.#pageSize > this.#size) throw this.#damaged('is truncated')
    if (this.#used[number] === 1) throw this.#broken(number)
    this.#used[number] = 1
  }

  #broken(page: number): BridgeError {
    return this.#damaged(`is broken at page ${page}`)
  }

  #damaged(what: string): BridgeError {
    return new BridgeError('log_damaged', `the event log ${this.#path} ${what}: restore it from a backup, or move it away to start an empty log`)
  }
}

function readTree(bytes: Buffer, offset: number): Tree {
  const root = bytes.readBigUInt64LE(offset + 40)
  return {
    depth: bytes.readUInt16LE(offset + 6),
    entries: Number(bytes.readBigUInt64LE(offset + 32)),
    root: root === noRoot ? undefined : Number(root),
  }
}
