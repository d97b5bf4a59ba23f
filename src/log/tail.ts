import { entryStreams, type Stored } from '../core/entry.ts'
import type { Stream } from '../core/target.ts'
import { Latest } from './latest.ts'

/** An entry and the streams by which it is found. */
interface Found {
  readonly stored: Stored
  readonly streams: readonly Stream[]
}

/** The newest entries, which do not stand in the tables yet: found as if they did. */
export class Tail {
  readonly latest = new Latest()
  readonly #entries = new Map<number, Found>()
  /** Positions, in order, up to `#indexed`: made when somebody asks, since most entries are in the tables before anybody does. */
  readonly #streams = new Map<Stream, number[]>()
  #indexed = 0
  #head = 0
  #time = 0
  #kept = 0

  /** The position of the newest entry; 0 when there is none. */
  get head(): number {
    return this.#entries.size === 0 ? 0 : this.#head
  }

  /** Of the newest entry. */
  get time(): number {
    return this.#time
  }

  /** How many entries can be read. */
  get kept(): number {
    return this.#kept
  }

  get size(): number {
    return this.#entries.size
  }

  /** An entry behind all others. */
  add(stored: Stored): void {
    this.addFound({ stored, streams: entryStreams(stored.entry) })
  }

  /** As `add`, when its streams are known. */
  addFound(found: Found): void {
    const { stored, streams } = found
    this.#entries.set(stored.position, found)
    this.#head = stored.position
    this.#time = stored.time
    if (streams.length > 0) this.#kept++
    this.latest.add(stored)
  }

  /** The tables have them now. */
  drop(upTo: number): void {
    const touched = new Set<Stream>()
    for (const [position, { stored, streams }] of this.#entries) {
      if (position > upTo) break
      this.#entries.delete(position)
      if (streams.length > 0) this.#kept--
      if (position <= this.#indexed) for (const stream of streams) touched.add(stream)
      this.latest.forget(stored)
    }
    for (const stream of touched) {
      const left = this.#streams.get(stream)?.filter((position) => position > upTo) ?? []
      if (left.length === 0) this.#streams.delete(stream)
      else this.#streams.set(stream, left)
    }
  }

  all(): readonly Stored[] {
    return [...this.#entries.values()].map(({ stored }) => stored)
  }

  get(position: number): Stored | undefined {
    return this.#entries.get(position)?.stored
  }

  /** Of the entries of a stream, from a position on. */
  positions(stream: Stream, from: number): number[] {
    this.#index()
    return this.#streams.get(stream)?.filter((position) => position >= from) ?? []
  }

  #index(): void {
    if (this.#indexed === this.#head) return
    for (const [position, { streams }] of this.#entries) {
      if (position <= this.#indexed) continue
      for (const stream of streams) {
        const positions = this.#streams.get(stream)
        if (positions === undefined) this.#streams.set(stream, [position])
        else positions.push(position)
      }
    }
    this.#indexed = this.#head
  }
}
