import { type Connection, type Reply, toList, toText } from './connection.ts'
import type { LogKeys } from './keys.ts'
import { Overrun } from './overrun.ts'
import { toStreamId } from './place.ts'
import type { Window } from './window.ts'
import { type Followed, fieldOf, fromStream } from './wire.ts'

/** Up to where the streams were read, as ids of Redis. */
export interface Cursor {
  readonly log: string
  readonly volatile: string
  readonly canary: string
  /** The newest position of those that last which was read. */
  readonly lasting: number
  /** The newest that a canary has told of. */
  readonly promised: number
}

export interface Batch {
  readonly entries: readonly Followed[]
  /** Why nothing behind these can be taken in; undefined when it can. */
  readonly obstacle: unknown
  /** The tokens of all nodes. */
  readonly canaries: readonly string[]
  /** Another one was begun. */
  readonly epoch: string | undefined
  /** All that stood there is in it, not only what fits into one batch. */
  readonly whole: boolean
  readonly cursor: Cursor
}

interface RawRow {
  readonly id: string
  readonly fields: readonly Buffer[]
}

// Each may be a pack.
const batchEntries = 128

/** Behind what the window has. */
export function cursorAt({ state, lasting }: Pick<Window, 'state' | 'lasting'>, now: number): Cursor {
  const id = toStreamId(state.head)
  return { log: id, volatile: id, canary: `${now}-0`, lasting, promised: 0 }
}

/**
 * The next entries of both streams in one order, waiting for them at most so long: those that follow each other without a hole. `onDamaged`: for what cannot be read; it
 * is passed over.
 */
export async function readBatch(
  connection: Connection,
  keys: LogKeys,
  cursor: Cursor,
  blockMs: number,
  onDamaged: (error: unknown) => void,
): Promise<Batch> {
  const read = async (
    names: readonly ('log' | 'volatile' | 'canary')[],
    wait: readonly string[],
  ): Promise<ReadonlyMap<string, readonly RawRow[]>> => {
    const streams = [...names.map((name) => keys[name]), ...names.map((name) => cursor[name])]
    const reply = await connection.call(['XREAD', 'COUNT', String(batchEntries), ...wait, 'STREAMS', ...streams], wait.length > 0 ? blockMs : 0)
    return new Map(toList(reply).map((stream) => [toText(toList(stream)[0]), toRows(toList(stream)[1])]))
  }
  const found = await read(['log', 'volatile', 'canary'], blockMs === 0 ? [] : ['BLOCK', String(blockMs)])
  const rows = { log: found.get(keys.log) ?? [], volatile: found.get(keys.volatile) ?? [], canary: found.get(keys.canary) ?? [] }
  // Before 7.2 Redis gives those who wait the first stream that gets something, and what one script writes after that into the other is still to come.
  if (rows.volatile.length === 0 && rows.log.some(isMixed)) {
    const missing = (await read(['volatile'], [])).get(keys.volatile) ?? []
    return toBatch({ ...rows, volatile: missing }, cursor, onDamaged, rows.log.at(-1))
  }
  if (rows.log.length === 0 && rows.volatile.some(isMixed)) {
    const missing = (await read(['log'], [])).get(keys.log) ?? []
    return toBatch({ ...rows, log: missing }, cursor, onDamaged, rows.volatile.at(-1))
  }
  return toBatch(rows, cursor, onDamaged)
}

/** See the append script. */
function isMixed({ fields }: RawRow): boolean {
  return fieldOf(fields, 'm') !== undefined
}

interface Rows {
  readonly log: readonly RawRow[]
  readonly volatile: readonly RawRow[]
  readonly canary: readonly RawRow[]
}

/** `behind`: what comes after this one was read at another moment, and is left for the next reading. */
function toBatch({ log, volatile, canary }: Rows, cursor: Cursor, onDamaged: (error: unknown) => void, behind?: RawRow): Batch {
  // Where one stream was cut, the other one must wait: what follows in the first comes before it.
  const full = [log, volatile].filter((rows) => rows.length === batchEntries)
  const end = [...full.map((rows) => rows.at(-1)?.id ?? ''), ...(behind === undefined ? [] : [behind.id])].toSorted(compareIds)[0]
  const taken = (rows: readonly RawRow[]): readonly RawRow[] => (end === undefined ? rows : rows.filter(({ id }) => compareIds(id, end) <= 0))
  const rows = [...taken(log).map((row) => ({ ...row, lasts: true })), ...taken(volatile).map((row) => ({ ...row, lasts: false }))]
  if (log.length > 0 && volatile.length > 0) rows.sort((one, other) => compareIds(one.id, other.id))
  const whole = full.length === 0
  const promised = Math.max(cursor.promised, ...canary.map(({ fields }) => Number(fieldOf(fields, 'a') ?? 0)))
  const entries: Followed[] = []
  let { lasting } = cursor
  let obstacle: unknown
  try {
    for (const { id, fields, lasts } of rows) {
      const row = fromStream(id, fields, onDamaged)
      if (row === undefined) continue
      if (row.after > lasting) throw new Overrun()
      if (lasts) lasting = row.position
      entries.push(...row.entries)
    }
    // Also when nothing stands behind the hole that would show it.
    if (whole && promised > lasting) throw new Overrun()
  } catch (error) {
    obstacle = error
  }
  const controls = canary.map(({ fields }) => ({ name: toText(fields[0]), value: toText(fields[1]) }))
  return {
    entries,
    obstacle,
    canaries: controls.filter(({ name }) => name === 'token').map(({ value }) => value),
    epoch: controls.findLast(({ name }) => name === 'epoch')?.value,
    whole,
    cursor: {
      log: taken(log).at(-1)?.id ?? cursor.log,
      volatile: taken(volatile).at(-1)?.id ?? cursor.volatile,
      canary: canary.at(-1)?.id ?? cursor.canary,
      lasting,
      promised,
    },
  }
}

export function toRows(reply: Reply | undefined): readonly RawRow[] {
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
