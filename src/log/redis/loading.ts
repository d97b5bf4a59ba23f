import type { Stored } from '../../core/entry.ts'
import type { RetentionOptions } from '../retention.ts'
import type { Connection } from './connection.ts'
import { toList, toText } from './connection.ts'
import { firstOf } from './enter.ts'
import { toRows } from './following.ts'
import type { LogKeys } from './keys.ts'
import type { Link } from './link.ts'
import { type Meta, readMeta } from './meta.ts'
import { Overrun } from './overrun.ts'
import { toStreamId } from './place.ts'
import { Window } from './window.ts'
import { decodeRevocationRow, decodeRow, type Followed, fromStream } from './wire.ts'

const chunk = '1000'
// Each may be a pack.
const entriesChunk = '128'

export interface LoadOptions extends RetentionOptions {
  readonly directory: string
  readonly shared?: boolean
  readonly keys: LogKeys
  readonly now: () => number
  readonly onDamaged: (error: unknown) => void
}

/**
 * What there is, as a new window: the last words first, then the entries. Words that change meanwhile are met again among the entries, which tell by their
 * position what is newer.
 */
export async function loadWindow(link: Link, meta: Meta, options: LoadOptions): Promise<Window> {
  const { directory, keys, onDamaged } = options
  const first = await firstOf(link, keys, meta)
  const window = await Window.open(directory, { head: 0, time: 0, first, kept: 0 }, options)
  try {
    await scan(link.commands, keys.members, async (rows) => {
      const memberships = rows.flatMap(([key, row]) => {
        const membership = decodeRow(row.toString())
        return membership === undefined ? [] : [{ key, membership }]
      })
      await window.fillMemberships(memberships)
    })
    await scan(link.commands, keys.revocations, (rows) => window.fillRevocations(rows.flatMap(([, row]) => toRevocation(row, onDamaged))))
    const wholeFrom = await fillEntries(link.commands, window, meta, first, options)
    // What was removed in Redis while it was read may not stand here half.
    const now = await readMeta(link.commands, keys)
    await window.sweep(options.now(), onDamaged, Math.max(wholeFrom, now === undefined ? 0 : await firstOf(link, keys, now)))
    return window
  } catch (error) {
    await window.close()
    throw error
  }
}

/** Resolves with the position from which on nothing was missing. @throws Overrun */
async function fillEntries(connection: Connection, window: Window, meta: Meta, first: number, { keys, onDamaged }: LoadOptions): Promise<number> {
  let start = toStreamId(first)
  let wholeFrom = first
  let lasting = first - 1
  for (;;) {
    const rows = toRows(await connection.call(['XRANGE', keys.log, start, '+', 'COUNT', entriesChunk]))
    const entries: Followed[] = []
    for (const { id, fields } of rows) {
      const row = fromStream(id, fields, onDamaged)
      if (row === undefined) continue
      if (row.after > lasting) {
        // What it said about memberships and revocations is known only as far as these were read after it.
        if (row.after > meta.last) throw new Overrun()
        wholeFrom = row.after + 1
      }
      lasting = row.position
      // The first of them may share its pack with some that are not kept any more.
      entries.push(...row.entries.filter(({ stored }) => stored.position >= first))
    }
    await window.fill(entries, { statesAfter: meta.last })
    const last = rows.at(-1)
    if (last === undefined || rows.length < Number(entriesChunk)) break
    start = `(${last.id}`
  }
  if (meta.lasting > lasting) wholeFrom = meta.lasting + 1
  await window.moveHead(meta.last, Math.max(meta.lasting, lasting))
  return wholeFrom
}

async function scan(connection: Connection, key: string, take: (rows: readonly (readonly [Buffer, Buffer])[]) => Promise<void>): Promise<void> {
  let cursor = '0'
  do {
    const [next, items] = toList(await connection.call(['HSCAN', key, cursor, 'COUNT', chunk]))
    const texts = toList(items).filter((item) => Buffer.isBuffer(item))
    await take(texts.flatMap((name, index) => (index % 2 === 0 ? [[name, texts[index + 1] ?? Buffer.alloc(0)] as const] : [])))
    cursor = toText(next)
  } while (cursor !== '0')
}

function toRevocation(row: Buffer, onDamaged: (error: unknown) => void): readonly Stored[] {
  try {
    return [decodeRevocationRow(row)]
  } catch (error) {
    onDamaged(error)
    return []
  }
}
