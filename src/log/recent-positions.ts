import type { Stream } from '../core/target.ts'

/** Of one stream, in order. */
interface Positions {
  readonly from: number
  readonly positions: readonly number[]
  /** There are no more behind them. */
  readonly ended: boolean
}

/** A look into the tables costs so much more than one in here that it pays for one that is shared by a few. */
const maxStreams = 4096

/**
 * Where the entries of streams stand, as far as it was looked up in this state of the tables: those who come back at once look for the same rooms, and each
 * looks several times for the same changes of its own.
 */
export class RecentPositions {
  readonly #byStream = new Map<Stream, Positions>()

  /** Undefined: it was not looked up from there on. */
  get(stream: Stream, from: number): Omit<Positions, 'from'> | undefined {
    const known = this.#byStream.get(stream)
    if (known === undefined || known.from === from) return known
    if (known.from > from || !known.ended) return undefined
    const first = known.positions.findIndex((position) => position >= from)
    return { positions: first === -1 ? [] : known.positions.slice(first), ended: true }
  }

  keep(stream: Stream, found: Positions): void {
    if (this.#byStream.size >= maxStreams) this.#byStream.clear()
    this.#byStream.set(stream, found)
  }

  /** The tables are in another state. */
  clear(): void {
    this.#byStream.clear()
  }
}
