interface Due<T> {
  readonly item: T
  at: number
}

/**
 * What has to be looked at when: a binary heap, so that a look costs what is due and not what there is. No timers: those beyond 24.8 days fire at once.
 * Each item stands in it once, so a moment that was moved does not come.
 */
export class Lifetimes<T> {
  readonly #heap: Due<T>[] = []
  readonly #places = new Map<T, number>()

  get size(): number {
    return this.#heap.length
  }

  /** When the item is due next, in place of what was set before; undefined: never. */
  set(item: T, at: number | undefined): void {
    if (at === undefined) {
      this.delete(item)
      return
    }
    const place = this.#places.get(item)
    const due = place === undefined ? undefined : this.#heap[place]
    if (place === undefined || due === undefined) {
      this.#heap.push({ item, at })
      this.#rise(this.#heap.length - 1)
    } else {
      due.at = at
      this.#sink(this.#rise(place))
    }
  }

  delete(item: T): void {
    const place = this.#places.get(item)
    if (place === undefined) return
    this.#places.delete(item)
    const last = this.#heap.pop()
    if (last === undefined || place === this.#heap.length) return
    this.#heap[place] = last
    this.#sink(this.#rise(place))
  }

  /** Takes out what is due at `time`, the earliest first. */
  due(time: number): readonly T[] {
    const items: T[] = []
    for (let [first] = this.#heap; first !== undefined && first.at <= time; [first] = this.#heap) {
      items.push(first.item)
      this.delete(first.item)
    }
    return items
  }

  /** Moves what stands at a place towards the top, as far as it is earlier. Returns where it is then. */
  #rise(place: number): number {
    const due = this.#heap[place]
    if (due === undefined) return place
    let at = place
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = this.#heap[parent]
      if (above === undefined || above.at <= due.at) break
      this.#put(at, above)
      at = parent
    }
    this.#put(at, due)
    return at
  }

  #sink(place: number): void {
    const due = this.#heap[place]
    if (due === undefined) return
    let at = place
    for (;;) {
      const left = this.#heap[2 * at + 1]
      const right = this.#heap[2 * at + 2]
      const earlier = right !== undefined && left !== undefined && right.at < left.at ? right : left
      if (earlier === undefined || earlier.at >= due.at) break
      this.#put(at, earlier)
      at = 2 * at + (earlier === right ? 2 : 1)
    }
    this.#put(at, due)
  }

  #put(place: number, due: Due<T>): void {
    this.#heap[place] = due
    this.#places.set(due.item, place)
  }
}
