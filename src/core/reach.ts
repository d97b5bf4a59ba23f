import { BridgeError } from '../errors.ts'
import type { Publisher } from './access.ts'
import type { Draft } from './draft.ts'
import type { Instruction } from './instruction.ts'
import { matchesRoom, type RoomPattern } from './room-pattern.ts'

// How far a credential reaches within its scopes; default deny. One that is limited to rooms reaches these and nothing else: no users, no sessions, not
// everybody. One that is limited to events publishes these, and manages rooms only when it names rooms as well.

const isOneOf = (patterns: readonly RoomPattern[], name: string): boolean => patterns.some((pattern) => matchesRoom(pattern, name))

export function mayPublish({ rooms, events }: Publisher, { event, to }: Pick<Draft, 'event' | 'to'>): boolean {
  if (events !== undefined && !isOneOf(events, event)) return false
  if (rooms === undefined) return true
  return !to.all && to.users.length === 0 && to.sessions.length === 0 && to.rooms.every((room) => isOneOf(rooms, room))
}

/** @throws BridgeError publish_forbidden */
export function requireRoom({ name, rooms }: Publisher, room: string): void {
  if (rooms !== undefined && !isOneOf(rooms, room)) throw new BridgeError('publish_forbidden', `${name} is limited to other rooms than ${room}`)
}

/** Whether it says who is in the room. @throws BridgeError publish_forbidden */
export function requireManagement(publisher: Publisher, room: string): void {
  requireRoom(publisher, room)
  if (publisher.events !== undefined && publisher.rooms === undefined)
    throw new BridgeError('publish_forbidden', `${publisher.name} is limited to events, and manages no rooms: give it rooms as well`)
}

/** For what concerns users and their sessions. @throws BridgeError publish_forbidden */
export function requireAllRooms({ name, rooms }: Publisher): void {
  if (rooms !== undefined) throw new BridgeError('publish_forbidden', `${name} is limited to rooms, which users and sessions are not`)
}

/** For one of several things that are done together. @throws BridgeError publish_forbidden */
export function requireReach(publisher: Publisher, instruction: Instruction): void {
  switch (instruction.kind) {
    case 'event':
      if (!mayPublish(publisher, instruction.draft)) throw beyondReach(publisher, instruction.draft)
      return
    case 'membership':
      requireManagement(publisher, instruction.room)
      return
    case 'disconnect':
    case 'revoke':
      requireAllRooms(publisher)
      return
    default:
      instruction satisfies never
  }
}

/** Why an event is not published. */
export function beyondReach({ name }: Publisher, { event }: Pick<Draft, 'event'>): BridgeError {
  return new BridgeError('publish_forbidden', `${name} may not publish ${event} to all that it is for`)
}
