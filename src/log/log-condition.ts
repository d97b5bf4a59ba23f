import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { LogHealth } from '../core/event-log.ts'

// A commit that takes longer than this is as good as none to those who wait.
const stallMs = 10_000
const spaceBytes = 65_536
const maxNeededBytes = 2 ** 22

/** What is known about being able to store. Two witnesses: the last write to the log, and whether the disk gives new space. */
export class LogCondition {
  readonly #now: () => number
  readonly #onFailure: (error: unknown) => void
  #write: string | undefined
  #space: string | undefined
  #neededBytes = 0
  #commitSince: number | undefined

  constructor(now: () => number, onFailure: (error: unknown) => void) {
    this.#now = now
    this.#onFailure = onFailure
  }

  health(): LogHealth {
    const waited = this.#commitSince === undefined ? 0 : this.#now() - this.#commitSince
    if (waited > stallMs) return { appendable: false, reason: `a write has been waiting for the disk for ${Math.round(waited / 1000)} s` }
    const reason = this.#write ?? this.#space
    return reason === undefined ? { appendable: true } : { appendable: false, reason }
  }

  get writeFailed(): boolean {
    return this.#write !== undefined
  }

  /** The size of what could not be written: smaller writes prove nothing, they may fit in pages that are free inside the file. */
  get neededBytes(): number {
    return this.#neededBytes
  }

  commitStarted(): void {
    this.#commitSince = this.#now()
  }

  commitSucceeded(): void {
    this.#commitSince = undefined
    this.#write = undefined
    this.#neededBytes = 0
  }

  /** There was nothing to write but what stands in the log already, which says nothing about the disk. */
  commitSpared(): void {
    this.#commitSince = undefined
  }

  commitFailed(error: unknown, bytes: number): void {
    this.#commitSince = undefined
    if (this.#write === undefined) this.#onFailure(error)
    this.#write = reasonOf(error)
    this.#neededBytes = Math.min(Math.max(this.#neededBytes, bytes), maxNeededBytes)
  }

  /** Takes a little new space from the disk and gives it back. The log itself could still go on for a while in pages that it had before. */
  async checkSpace(folder: string): Promise<void> {
    const path = join(folder, 'canary')
    try {
      const file = await open(path, 'w')
      try {
        await file.write(Buffer.alloc(spaceBytes, 1))
        // Only now has the file system really found the space.
        await file.sync()
      } finally {
        await file.close()
        await rm(path, { force: true })
      }
      this.#space = undefined
    } catch (error) {
      if (this.#space === undefined) this.#onFailure(error)
      this.#space = reasonOf(error)
    }
  }
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
