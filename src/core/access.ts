import { BridgeError } from '../errors.ts'
import type { Membership } from './entry.ts'
import type { Identity } from './identity.ts'
import { matchesRoom, type RoomPattern } from './room-pattern.ts'

/** What an ingress credential allows. */
export const scopes = ['publish', 'read', 'admin'] as const
export type Scope = (typeof scopes)[number]

/** Who calls an ingress. How far `rooms` and `events` reach is in `reach`. */
export interface Publisher {
  readonly name: string
  readonly scopes: readonly Scope[]
  /** Absent: every room, and users, sessions and all as well. Else only rooms, and of these only those that match. */
  readonly rooms?: readonly RoomPattern[]
  /** The names of events that it may publish; absent: all. Segments end at `:`, `.` or `/` as in rooms. */
  readonly events?: readonly RoomPattern[]
}

/** @throws BridgeError scope_missing */
export function requireScope(publisher: Publisher, scope: Scope): void {
  if (!publisher.scopes.includes(scope)) throw new BridgeError('scope_missing', `${publisher.name} lacks the scope ${scope}`)
}

/** Why a session is in a room. */
export type RoomSource = 'backend' | 'token' | 'request'

/** What was said about one room: by the backend about the user, by the session about itself. */
export interface RoomState {
  readonly user?: Membership | undefined
  readonly session?: Membership | undefined
}

/** A token speaks for a room again only when it was issued after the backend removed the user: the login before must not undo the removal. */
function outlivesRemoval(identity: Identity, removal: Membership): boolean {
  return identity.issuedAt !== undefined && identity.issuedAt > removal.time
}

function tokenOpens(identity: Identity, room: string, user: Membership | undefined): boolean {
  if (user?.present === false && !outlivesRemoval(identity, user)) return false
  return identity.rooms.includes(room) || identity.grants.some((pattern) => matchesRoom(pattern, room))
}

/** Whether a session may ask to be in the room. */
export function mayJoin(identity: Identity, room: string, user: Membership | undefined): boolean {
  return user?.present === true || tokenOpens(identity, room, user)
}

/** Whether what somebody has allowed the session holds at `time`. It needs no grant of the token. */
function isAuthorized({ user, session }: RoomState, time: number): boolean {
  if (session?.present !== true || session.authorized === undefined) return false
  const { until, givenAt } = session.authorized
  if (until !== undefined && time >= until) return false
  // A removal that comes later ends it; one that came before is undone only by who has decided after it.
  return user?.present !== false || (session.position > user.position && givenAt > user.time)
}

/**
 * Why a session is in the room at `time`, or undefined when it is not. The one rule of who is in a room; default deny.
 * The backend's word comes first; then what the session was allowed; then its own word, and the token's.
 */
export function roomSource(identity: Identity, room: string, state: RoomState, time: number): RoomSource | undefined {
  const { user } = state
  if (user?.present) return 'backend'
  if (isAuthorized(state, time)) return 'request'
  // Once it is over it is as if the session had never asked.
  const session = state.session?.authorized === undefined ? state.session : undefined
  if (!tokenOpens(identity, room, user)) return undefined
  if (session !== undefined && !(user?.present === false && session.position < user.position)) return session.present ? 'request' : undefined
  return identity.rooms.includes(room) ? 'token' : undefined
}

/** When a stay in a room ends by itself, since it is founded on what the session was allowed. Milliseconds since 1970; undefined: not by itself. */
export function stayEndsAt(identity: Identity, room: string, state: RoomState): number | undefined {
  if (!isAuthorized(state, Number.NEGATIVE_INFINITY)) return undefined
  const staysIn = roomSource(identity, room, state, Number.POSITIVE_INFINITY) !== undefined
  return staysIn ? undefined : state.session?.authorized?.until
}

/**
 * Whether the session was in the room when something was published at `time`, given what had been said until then.
 * After a removal the newer token speaks, but only for what was published since it was issued.
 */
export function wasInRoom(identity: Identity, room: string, state: RoomState, time: number): boolean {
  if (isAuthorized(state, time)) return true
  if (state.user?.present === false && identity.issuedAt !== undefined && time < identity.issuedAt) return false
  return roomSource(identity, room, state, time) !== undefined
}
