import { type FileHandle, open } from 'node:fs/promises'

const pieceBytes = 2 ** 20
const maxAheadBytes = 2 ** 24
const zeros = Buffer.alloc(pieceBytes)

// What a commit may need beyond its own bytes, for pages that it copies, and for each of its entries.
export const commitReserveBytes = 2 ** 20
export const entryReserveBytes = 4096

/**
 * Space behind the pages that LMDB uses, taken from the disk before LMDB needs it. So a full disk is met here, where it is an error
 * like any other: in LMDB a page write that fails formats its message into a buffer that can be too short, and the heap is damaged.
 * It also saves the commits from changing the size of the file.
 */
export class Reserve {
  readonly #file: FileHandle
  #allocatedBytes: number

  static async open(path: string): Promise<Reserve> {
    const file = await open(path, 'r+')
    return new Reserve(file, (await file.stat()).size)
  }

  private constructor(file: FileHandle, allocatedBytes: number) {
    this.#file = file
    this.#allocatedBytes = allocatedBytes
  }

  has(usedBytes: number, freeBytes: number): boolean {
    return this.#allocatedBytes - usedBytes >= freeBytes
  }

  /**
   * Never called while a transaction runs: it writes behind the end of the file only, and nobody else may move that end.
   * @throws the error of the file system when there is not that much space.
   */
  async ensure(usedBytes: number, freeBytes: number): Promise<void> {
    this.#allocatedBytes = Math.max(this.#allocatedBytes, usedBytes)
    if (this.has(usedBytes, freeBytes)) return
    const ahead = Math.min(Math.max(pieceBytes, usedBytes >> 4), maxAheadBytes)
    try {
      await this.#extend(usedBytes + freeBytes + ahead)
    } catch (error) {
      // Less than wished for may do.
      if (!this.has(usedBytes, freeBytes)) throw error
    }
  }

  async #extend(end: number): Promise<void> {
    this.#allocatedBytes = Math.max(this.#allocatedBytes, (await this.#file.stat()).size)
    while (this.#allocatedBytes < end) {
      const { bytesWritten } = await this.#file.write(zeros, 0, Math.min(zeros.length, end - this.#allocatedBytes), this.#allocatedBytes)
      this.#allocatedBytes += bytesWritten
    }
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
