/** Sets of items by key; a key without items takes no memory. */
export class SetIndex<Key, Item> {
  readonly #byKey = new Map<Key, Set<Item>>()
  readonly #none: ReadonlySet<Item> = new Set()

  of(key: Key): ReadonlySet<Item> {
    return this.#byKey.get(key) ?? this.#none
  }

  put(key: Key, item: Item): void {
    const items = this.#byKey.get(key)
    if (items === undefined) this.#byKey.set(key, new Set([item]))
    else items.add(item)
  }

  drop(key: Key, item: Item): void {
    const items = this.#byKey.get(key)
    if (items?.delete(item) && items.size === 0) this.#byKey.delete(key)
  }
}
