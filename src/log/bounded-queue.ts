// What may wait to be stored: a disk, or a Redis, that is slower than the publishers must not fill the memory.
const maxEntries = 65_536
const maxBytes = 2 ** 26

interface Part {
  readonly count: number
  readonly entries: number
  readonly bytes: number
}

/** What callers append, in order, and how much of it there is. */
export class BoundedQueue<T extends { readonly bytes: number }> {
  readonly #entriesOf: (append: T) => number
  #waiting: T[] = []
  #entries = 0
  #bytes = 0

  constructor(entriesOf: (append: T) => number) {
    this.#entriesOf = entriesOf
  }

  get isFull(): boolean {
    return this.#entries >= maxEntries || this.#bytes >= maxBytes
  }

  get first(): T | undefined {
    return this.#waiting[0]
  }

  push(append: T): void {
    this.#waiting.push(append)
    this.#entries += this.#entriesOf(append)
    this.#bytes += append.bytes
  }

  /** The first ones, for as long as the next one `belongs` to those before it. */
  takeWhile(belongs: (next: T, before: Part) => boolean): Part & { readonly appends: readonly T[] } {
    let [count, entries, bytes] = [0, 0, 0]
    for (const next of this.#waiting) {
      if (!belongs(next, { count, entries, bytes })) break
      count++
      entries += this.#entriesOf(next)
      bytes += next.bytes
    }
    this.#entries -= entries
    this.#bytes -= bytes
    return { appends: this.#waiting.splice(0, count), count, entries, bytes }
  }
}
