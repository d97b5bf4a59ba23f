import { BridgeError } from '../errors.ts'
import { type Field, toFlag, toList, toText } from './headers.ts'

/** What a message says about its event beside the data, in the shape of the schema `EventDraft`. Absent: not said. */
export interface Addressing {
  readonly event?: string
  readonly to?: Readonly<Record<string, unknown>>
  readonly except?: Readonly<Record<string, unknown>>
  readonly volatile?: boolean
}

/** What can be said in `sidecast-*` headers and, written together, in CloudEvents extension attributes. */
export const fieldNames = ['event', 'users', 'rooms', 'sessions', 'all', 'except-users', 'except-sessions', 'volatile'] as const
export type FieldName = (typeof fieldNames)[number]

/** @throws BridgeError invalid_event */
export function readAddressing(find: (name: FieldName) => Field | undefined): Addressing {
  const event = find('event')
  const volatile = find('volatile')
  const to = readLists(find, { users: 'users', rooms: 'rooms', sessions: 'sessions' })
  const all = find('all')
  const except = readLists(find, { users: 'except-users', sessions: 'except-sessions' })
  const target = all !== undefined && toFlag(all) ? { ...to, all: true } : to
  return {
    ...(event === undefined ? {} : { event: toText(event) }),
    ...(target === undefined ? {} : { to: target }),
    ...(except === undefined ? {} : { except }),
    ...(volatile === undefined ? {} : { volatile: toFlag(volatile) }),
  }
}

function readLists(find: (name: FieldName) => Field | undefined, names: Readonly<Record<string, FieldName>>) {
  const lists: Record<string, unknown> = {}
  for (const [key, name] of Object.entries(names)) {
    const field = find(name)
    if (field !== undefined) lists[key] = toList(field)
  }
  return Object.keys(lists).length === 0 ? undefined : lists
}

/** A misspelt name must not silently change whom an event is for. @throws BridgeError invalid_event */
export function refuseUnknown(found: Iterable<string>, known: readonly string[], prefix: string): void {
  for (const name of found) {
    if (!name.startsWith(prefix) || known.includes(name)) continue
    throw new BridgeError('invalid_event', `${name} is not known; known are ${known.join(', ')}`)
  }
}
