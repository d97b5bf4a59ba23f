/** So many entries are remembered, until their publishers have asked. */
const capacity = 1 << 16

/** How many sessions each of the entries has matched that were dispatched last, by position. */
export class MatchedCounts {
  // Two rings, in the order of the log: nothing is made for an entry, and a position is found by halving.
  readonly #positions = new Float64Array(capacity)
  readonly #counts = new Uint32Array(capacity)
  /** All that were ever added, those that were overwritten included. */
  #added = 0

  /** Positions come in their order. */
  add(position: number, count: number): void {
    const slot = this.#added % capacity
    this.#positions[slot] = position
    this.#counts[slot] = count
    this.#added++
  }

  get(position: number): number | undefined {
    let from = Math.max(0, this.#added - capacity)
    let to = this.#added
    while (from < to) {
      const middle = from + ((to - from) >> 1)
      const found = this.#positions[middle % capacity] ?? 0
      if (found === position) return this.#counts[middle % capacity]
      if (found < position) from = middle + 1
      else to = middle
    }
    return undefined
  }

  clear(): void {
    this.#added = 0
  }
}
