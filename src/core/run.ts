import type { Entry, EventEntry, Stored } from './entry.ts'

/** Events that stand in a row in the log, are of one moment and for the same sessions: these are looked for once. Never empty. */
export type Run = readonly Stored<EventEntry>[]

/** Characters of data in a run: whoever is given a whole one gets little more than by a single event. */
const maxCharacters = 16 * 1024

/** All entries, in order; events in runs that are as long as they can be. */
export function* toRuns(entries: readonly Stored[]): Generator<Stored<Exclude<Entry, EventEntry>> | Run> {
  let run: Stored<EventEntry>[] = []
  let characters = 0
  for (const stored of entries) {
    const [first] = run
    const isNext = first !== undefined && isEvent(stored) && characters + stored.entry.data.length <= maxCharacters && isAlike(first, stored)
    if (first !== undefined && !isNext) {
      yield run
      run = []
      characters = 0
    }
    if (isEvent(stored)) {
      run.push(stored)
      characters += stored.entry.data.length
    } else if (isOther(stored)) yield stored
  }
  if (run.length > 0) yield run
}

export function isEvent(stored: Stored): stored is Stored<EventEntry> {
  return stored.entry.kind === 'event'
}

function isOther(stored: Stored): stored is Stored<Exclude<Entry, EventEntry>> {
  return stored.entry.kind !== 'event'
}

function isAlike({ time, entry: { to, except } }: Stored<EventEntry>, other: Stored<EventEntry>): boolean {
  const { to: otherTo, except: otherExcept } = other.entry
  return (
    time === other.time &&
    to.all === otherTo.all &&
    isSame(to.users, otherTo.users) &&
    isSame(to.rooms, otherTo.rooms) &&
    isSame(to.sessions, otherTo.sessions) &&
    isSame(except.users, otherExcept.users) &&
    isSame(except.sessions, otherExcept.sessions)
  )
}

function isSame(names: readonly string[], others: readonly string[]): boolean {
  return names.length === others.length && names.every((name, index) => name === others[index])
}
