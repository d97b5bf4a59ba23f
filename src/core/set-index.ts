/** Sets of items by key; a key without items takes no memory, and one with a single item no set: most users have one session. */
export class SetIndex<Key, Item extends object> {
  readonly #byKey = new Map<Key, Item | Set<Item>>()
  readonly #none: ReadonlySet<Item> = new Set()

  /** As it is now; it may be another one after the next change. */
  of(key: Key): ReadonlySet<Item> {
    const found = this.#byKey.get(key)
    if (found === undefined) return this.#none
    return found instanceof Set ? found : new Set([found])
  }

  forEach(key: Key, visit: (item: Item) => void): void {
    const found = this.#byKey.get(key)
    if (found instanceof Set) for (const item of found) visit(item)
    else if (found !== undefined) visit(found)
  }

  put(key: Key, item: Item): void {
    const found = this.#byKey.get(key)
    if (found === undefined) this.#byKey.set(key, item)
    else if (found instanceof Set) found.add(item)
    else if (found !== item) this.#byKey.set(key, new Set([found, item]))
  }

  drop(key: Key, item: Item): void {
    const found = this.#byKey.get(key)
    if (found === item) this.#byKey.delete(key)
    else if (found instanceof Set && found.delete(item) && found.size === 0) this.#byKey.delete(key)
  }
}
