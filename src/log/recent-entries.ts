import type { Stored } from '../core/entry.ts'

// When everybody comes back at once they have missed the same entries: what one has read, the others find decoded. Bounds of one of two generations.
const maxEntries = 8192
const maxBytes = 2 ** 22

/** So long after the first of them all are let go of: they are of use while many come back, and memory that nobody uses afterwards. */
const keptMs = 30_000

/** The entries that were read last, by position. A position never gets another entry as long as its log is open. */
export class RecentEntries {
  #young = new Map<number, Stored>()
  #old: ReadonlyMap<number, Stored> = new Map()
  #bytes = 0
  #release: NodeJS.Timeout | undefined

  get(position: number): Stored | undefined {
    return this.#young.get(position) ?? this.#old.get(position)
  }

  /** `bytes`: of its record. */
  keep(stored: Stored, bytes: number): void {
    this.#release ??= setTimeout(() => this.clear(), keptMs).unref()
    if (this.#young.size >= maxEntries || this.#bytes >= maxBytes) {
      this.#old = this.#young
      this.#young = new Map()
      this.#bytes = 0
    }
    this.#young.set(stored.position, stored)
    this.#bytes += bytes
  }

  clear(): void {
    clearTimeout(this.#release)
    this.#release = undefined
    this.#young = new Map()
    this.#old = new Map()
    this.#bytes = 0
  }
}
