import { type Connection, type Reply, toList, toText } from './connection.ts'
import type { LogKeys } from './keys.ts'
import { toStreamId } from './place.ts'
import { type Followed, fromStream } from './wire.ts'

/** Up to where the streams were read, as ids of Redis. */
export interface Cursor {
  readonly log: string
  readonly volatile: string
  readonly canary: string
}

export interface Batch {
  readonly entries: readonly Followed[]
  /** The tokens of all nodes. */
  readonly canaries: readonly string[]
  /** Another one was begun. */
  readonly epoch: string | undefined
  /** There is more than fits in one batch: this node is behind. */
  readonly full: boolean
  readonly cursor: Cursor
}

interface Row {
  readonly id: string
  readonly fields: readonly Buffer[]
}

const batchEntries = 1000

export function cursorAt(position: number, now: number): Cursor {
  return { log: toStreamId(position), volatile: toStreamId(position), canary: `${now}-0` }
}

/** The next entries of both streams in one order, waiting for them at most so long. `onDamaged`: for what cannot be read; it is passed over. */
export async function readBatch(
  connection: Connection,
  keys: LogKeys,
  cursor: Cursor,
  blockMs: number,
  onDamaged: (error: unknown) => void,
): Promise<Batch> {
  const streams = [keys.log, keys.volatile, keys.canary, cursor.log, cursor.volatile, cursor.canary]
  const block = blockMs === 0 ? [] : ['BLOCK', String(blockMs)]
  const reply = await connection.call(['XREAD', 'COUNT', String(batchEntries), ...block, 'STREAMS', ...streams], blockMs)
  const found = new Map(toList(reply).map((stream) => [toText(toList(stream)[0]), toRows(toList(stream)[1])]))
  const [log, volatile, canary] = [keys.log, keys.volatile, keys.canary].map((key) => found.get(key) ?? [])
  return toBatch(log ?? [], volatile ?? [], canary ?? [], cursor, onDamaged)
}

function toBatch(log: readonly Row[], volatile: readonly Row[], canary: readonly Row[], cursor: Cursor, onDamaged: (error: unknown) => void): Batch {
  // Where one stream was cut, the other one must wait: what follows in the first comes before it.
  const full = [log, volatile].filter((rows) => rows.length === batchEntries)
  const end = full.map((rows) => rows.at(-1)?.id ?? '').toSorted(compareIds)[0]
  const taken = (rows: readonly Row[]): readonly Row[] => (end === undefined ? rows : rows.filter(({ id }) => compareIds(id, end) <= 0))
  const rows = [...taken(log), ...taken(volatile)]
  if (log.length > 0 && volatile.length > 0) rows.sort((one, other) => compareIds(one.id, other.id))
  const entries = rows.flatMap(({ id, fields }) => {
    try {
      return [fromStream(id, fields)]
    } catch (error) {
      onDamaged(error)
      return []
    }
  })
  const controls = canary.map(({ fields }) => ({ name: toText(fields[0]), value: toText(fields[1]) }))
  return {
    entries,
    canaries: controls.filter(({ name }) => name === 'token').map(({ value }) => value),
    epoch: controls.findLast(({ name }) => name === 'epoch')?.value,
    full: full.length > 0,
    cursor: {
      log: taken(log).at(-1)?.id ?? cursor.log,
      volatile: taken(volatile).at(-1)?.id ?? cursor.volatile,
      canary: canary.at(-1)?.id ?? cursor.canary,
    },
  }
}

export function toRows(reply: Reply | undefined): readonly Row[] {
  return toList(reply).map((row) => {
    const [id, fields] = toList(row)
    return { id: toText(id), fields: toList(fields).filter((field) => Buffer.isBuffer(field)) }
  })
}

function compareIds(one: string, other: string): number {
  const [a = 0, b = 0] = one.split('-').map(Number)
  const [c = 0, d = 0] = other.split('-').map(Number)
  return a - c || b - d
}
