import { changesStream, type Member } from '../../src/core/entry.ts'
import type { EventLog } from '../../src/core/event-log.ts'
import type { History, Word } from '../support/entitlement.ts'

/** What a log has about these members, in its order. */
export function readHistory(log: EventLog, members: readonly Member[]): Pick<History, 'words' | 'ends'> {
  const reading = log.read(0, members.map(changesStream), Number.MAX_SAFE_INTEGER)
  if (reading.gap) throw new Error('the log does not go back to its beginning')
  const words: Word[] = []
  const ends: { readonly position: number; readonly by: Member }[] = []
  for (const { position, time, entry } of reading.entries) {
    if (entry.kind === 'membership') words.push({ position, time, room: entry.room, by: entry.member, present: entry.present })
    if (entry.kind === 'disconnect') ends.push({ position, by: entry.member })
    if (entry.kind === 'session-ended') ends.push({ position, by: { session: entry.session } })
  }
  return { words, ends }
}
