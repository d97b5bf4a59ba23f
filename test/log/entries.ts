import type { DisconnectEntry, EventEntry, Member, MembershipEntry } from '../../src/core/entry.ts'
import type { Appended, Reading } from '../../src/core/event-log.ts'

const nobody = { users: [], sessions: [] } as const

/** An event for a room; ids are not repeated unless given. */
export function eventTo(room: string, more: Partial<EventEntry> = {}): EventEntry {
  const to = { users: [], rooms: [room], sessions: [], all: false }
  return { kind: 'event', id: crypto.randomUUID(), event: 'changed', data: '{"n":1}', to, except: nobody, volatile: false, ...more }
}

export function membership(member: Member, room: string, present: boolean): MembershipEntry {
  return { kind: 'membership', member, room, present }
}

export function disconnect(member: Member): DisconnectEntry {
  return { kind: 'disconnect', member }
}

export function positionsOf(appended: readonly Appended[]): readonly number[] {
  return appended.map(({ position }) => position)
}

export function onlyPosition(appended: readonly Appended[]): number {
  const [one, ...others] = appended
  if (one === undefined || others.length > 0) throw new Error(`one entry was expected, not ${appended.length}`)
  return one.position
}

export function entriesOf(reading: Reading): readonly { readonly position: number; readonly id: string }[] {
  if (reading.gap) throw new Error('the reading is a gap')
  return reading.entries.map(({ position, entry }) => ({ position, id: entry.kind === 'event' ? entry.id : entry.kind }))
}

export function readPositions(reading: Reading): readonly number[] {
  return entriesOf(reading).map(({ position }) => position)
}

/** Waits for what happens in the background; the test runner bounds the wait. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}
