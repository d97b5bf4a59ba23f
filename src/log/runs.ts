import { randomInt } from 'node:crypto'
import { formatOffset, parseOffset } from '../core/offset.ts'
import { BridgeError } from '../errors.ts'
import { positionKey, readPosition } from './keys.ts'
import type { Store, Tables } from './store.ts'

// A run is the log from one opening to the next. When an older copy of the data is put back, positions are given out a second time, but by
// another run. So an offset names the run that gave it out: one of the lost branch names a run that this log does not know, or a position
// beyond the end of one that it knows, however far the log has got since.
//
// A run is recorded with its first entry. One that stored nothing has given out no position, so no offset names it.

interface Run {
  readonly id: string
  /** Its first position; its last one is before that of the next run, or the head. */
  readonly from: number
  /** What its offsets begin with. Of one length, so that the epoch and the id cannot be cut in another way. */
  readonly name: string
}

const idLength = 6
const idPattern = /^[a-z0-9]{6}$/
const letters = 'abcdefghijklmnopqrstuvwxyz0123456789'
/** A run as another process is told of it. */
export type SharedRun = Omit<Run, 'name'>

// So many restarts inside the retention mean that something else is wrong. Beyond it the oldest offsets are gaps.
const maxRuns = 1000

/** Which run gave out which position. */
export class Runs {
  /** In order; the last one is this process. */
  readonly #runs: readonly Run[]
  readonly #current: Run

  /** @throws BridgeError log_damaged */
  static load(store: Store, epoch: string, head: number): Runs {
    const rows = [...store.tables.runs.getRange({ transaction: store.snapshot })]
    const known = rows.map(({ key, value }) => ({ id: value.toString(), from: readPosition(key, 0) }))
    // A run that is left out would give its positions to the one before it.
    if (known.length === 0 || known.some(({ id, from }) => !idPattern.test(id) || from > head)) {
      throw new BridgeError('log_damaged', 'the runs of the event log are damaged: restore it from a backup, or move it away to start an empty log')
    }
    return new Runs(epoch, known, { id: randomName(idLength), from: head + 1 })
  }

  /** The runs of a log that another process has open. */
  static of(epoch: string, runs: readonly SharedRun[]): Runs {
    const current = runs.at(-1)
    if (current === undefined) throw new BridgeError('internal', 'a log has at least one run')
    return new Runs(epoch, runs.slice(0, -1), current)
  }

  private constructor(epoch: string, known: readonly Omit<Run, 'name'>[], current: Omit<Run, 'name'>) {
    const named = (run: Omit<Run, 'name'>): Run => ({ ...run, name: `${epoch}${run.id}` })
    this.#current = named(current)
    this.#runs = [...known.map(named), this.#current]
  }

  /** The id of this run. */
  get current(): string {
    return this.#current.id
  }

  /** For `of`. */
  share(): readonly SharedRun[] {
    return this.#runs.map(({ id, from }) => ({ id, from }))
  }

  /** For a position that is too old to be read, one that is not good either. */
  offsetOf(position: number): string {
    if (position >= this.#current.from) return formatOffset(this.#current.name, position)
    const run = this.#runs.findLast(({ from }) => from <= position) ?? this.#current
    return formatOffset(run.name, position)
  }

  /** The position, or undefined when the text is no offset that this log gave out in the past that it has. */
  positionOf(text: string, head: number): number | undefined {
    const offset = parseOffset(text)
    if (offset === undefined) return undefined
    const { run: name, position } = offset
    const index = this.#runs.findLastIndex((run) => run.name === name)
    const from = this.#runs[index]?.from ?? Number.POSITIVE_INFINITY
    return position >= from && position <= this.#lastOf(index, head) ? position : undefined
  }

  /**
   * Belongs into the transaction of this run's first entry, so that no position is there without its run.
   * Forgets the runs that gave out nothing that can still be asked for; `first` is the oldest entry that is kept.
   */
  record({ runs }: Tables, first: number): void {
    const kept = new Set<SharedRun>(this.since(first))
    for (const run of this.#runs) if (!kept.has(run)) runs.remove(positionKey(run.from))
    runs.put(positionKey(this.#current.from), Buffer.from(this.#current.id))
  }

  /** Those that gave out something that can still be asked for, when everything before `first` is gone. */
  since(first: number): readonly SharedRun[] {
    return this.#runs.filter((_, index) => this.#lastOf(index, Number.POSITIVE_INFINITY) >= first - 1).slice(-maxRuns)
  }

  /** Whether the run has no entry yet. */
  isNew(head: number): boolean {
    return head < this.#current.from
  }

  #lastOf(index: number, head: number): number {
    const next = this.#runs[index + 1]
    return next === undefined ? head : next.from - 1
  }
}

/** For a log without runs: one for everything up to the head, which in an empty log is the place before the first entry. */
export async function beginRuns(store: Store): Promise<void> {
  const { runs } = store.tables
  if ([...runs.getKeys({ limit: 1, transaction: store.snapshot })].length > 0) return
  await store.write(() => runs.put(positionKey(0), Buffer.from(randomName(idLength))))
}

/** The id of the run that has written last; undefined when there is none. */
export function newestRun({ tables, snapshot }: Store): string | undefined {
  return [...tables.runs.getRange({ transaction: snapshot })].at(-1)?.value.toString()
}

export function randomName(length: number): string {
  return Array.from({ length }, () => letters[randomInt(letters.length)]).join('')
}
