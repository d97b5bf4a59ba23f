import { type RoomState, roomSource, wasInRoom } from './access.ts'
import { changesStream, type EventEntry, type Membership, type MembershipEntry, type Stored, toMembership } from './entry.ts'
import type { EventLog } from './event-log.ts'
import type { RoomChange } from './notice.ts'
import type { ResumeRefusal } from './observer.ts'
import type { Session } from './session.ts'
import { roomStream, type Stream, sessionStream, userStream } from './target.ts'

/** Where a resume starts, and the head of the log when that was decided; or why there is none. */
export type ResumePlan = { readonly after: number; readonly plannedAt: number } | { readonly refused: ResumeRefusal }

/** What a session missed in a stretch of the log: what it was entitled to then and may see now. */
export type Missed =
  | { readonly gap: true }
  | { readonly gap: false; readonly events: readonly Stored<EventEntry>[]; readonly upTo: number; readonly more: boolean }

export function planResume(log: EventLog, user: string, session: string | undefined, offset: string): ResumePlan {
  const after = log.positionOf(offset)
  if (after === undefined) return { refused: 'gap' }
  const refused = refusalOf(log, user, session, after)
  return refused === undefined ? { after, plannedAt: log.head() } : { refused }
}

/** Why a session cannot go on after a position; undefined: it can. */
export function refusalOf(log: EventLog, user: string, session: string | undefined, after: number): ResumeRefusal | undefined {
  const ofUser = log.read(after, [changesStream({ user })], Number.MAX_SAFE_INTEGER)
  if (ofUser.gap) return 'gap'
  if (session === undefined) return undefined
  // A session that was ended while its client was away does not go on. Its own end counts wherever it stands: the offset is only the client's word.
  const ofSession = log.read(log.first() - 1, [changesStream({ session })], Number.MAX_SAFE_INTEGER)
  const changes = [...ofUser.entries, ...(ofSession.gap ? [] : ofSession.entries)]
  const ended = changes.some(({ entry }) => entry.kind === 'disconnect' || entry.kind === 'session-ended')
  return ended ? 'session' : undefined
}

/** Since when a session reads as one that is connected, and the rooms that it had then. Absent positions lie behind it: what is read there is a resume. */
export interface Joined {
  readonly at: number
  readonly rooms: ReadonlySet<string>
}

/**
 * Reads at most `limit` entries for a session whose states are those at the head of the log.
 * Up to where it joined it resumes: it gets what the rooms that it had then held for it, so a right that was lost stays lost. After that it is connected, and
 * only slow: it gets what a live session would have got, also in rooms that it has left since.
 */
export function readMissed(
  log: EventLog,
  session: Session,
  after: number,
  limit: number,
  joined: Joined,
  { ofUser, ofSession } = changesSince(log, session, after),
): Missed {
  const { logins } = session
  const { user } = logins.current
  const rooms = new Set([
    ...joined.rooms,
    ...session.rooms.keys(),
    ...logins.pastRooms(),
    ...ofUser.roomsSince(joined.at),
    ...ofSession.roomsSince(joined.at),
  ])
  const streams: readonly Stream[] = ['all', userStream(user), sessionStream(session.id), ...[...rooms].map(roomStream)]
  const reading = log.read(after, streams, limit)
  if (reading.gap) return reading
  const stateAt = (room: string, position: number): RoomState => {
    const now = session.stateOf(room)
    return { user: ofUser.at(room, position, now.user), session: ofSession.at(room, position, now.session) }
  }
  const events = reading.entries.filter((stored): stored is Stored<EventEntry> => {
    const { entry, position, time } = stored
    if (entry.kind !== 'event') return false
    if (entry.except.users.includes(user) || entry.except.sessions.includes(session.id)) return false
    if (entry.to.all || entry.to.users.includes(user) || entry.to.sessions.includes(session.id)) return true
    const resumes = position <= joined.at
    const identity = resumes ? logins.current : logins.at(position)
    const mayRead = (room: string): boolean => (resumes ? joined.rooms : rooms).has(room)
    return entry.to.rooms.some((room) => mayRead(room) && wasInRoom(identity, room, stateAt(room, position), time))
  })
  return { gap: false, events, upTo: reading.upTo, more: reading.more }
}

/**
 * The rooms in which a session was at a position and is no longer at `time`, by what the log says since and by what it was allowed until then; what its token
 * has lost meanwhile the log does not know.
 */
export function roomsLostSince(session: Session, after: number, time: number, { ofUser, ofSession }: ChangesSince): readonly RoomChange[] {
  return [...new Set([...ofUser.roomsSince(after), ...ofSession.roomsSince(after), ...session.lapsedRooms(time)])].flatMap((room) => {
    const now = session.stateOf(room)
    const before = { user: ofUser.at(room, after, now.user), session: ofSession.at(room, after, now.session) }
    // Whatever it was allowed then had not ended: the end of that becomes an entry as soon as somebody is there to be told.
    if (session.rooms.has(room) || roomSource(session.identity, room, before, Number.NEGATIVE_INFINITY) === undefined) return []
    return [{ room, entered: false, by: now.user?.present === false ? 'backend' : 'request' }]
  })
}

interface Changes {
  roomsSince(position: number): readonly string[]
  /** The membership in force at a position; `now`: the one at the head of the log. */
  at(room: string, position: number, now: Membership | undefined): Membership | undefined
}

/** What has been said since about the rooms of a session: of its user, and of itself. */
export interface ChangesSince {
  readonly ofUser: Changes
  readonly ofSession: Changes
}

export function changesSince(log: EventLog, { id, identity: { user } }: Session, after: number): ChangesSince {
  return { ofUser: readChanges(log, after, changesStream({ user })), ofSession: readChanges(log, after, changesStream({ session: id })) }
}

function readChanges(log: EventLog, after: number, stream: Stream): Changes {
  const reading = log.read(after, [stream], Number.MAX_SAFE_INTEGER)
  const memberships = reading.gap ? [] : reading.entries.filter((stored): stored is Stored<MembershipEntry> => stored.entry.kind === 'membership')
  const byRoom = Map.groupBy(memberships, ({ entry }) => entry.room)
  return {
    roomsSince: (position) => [...byRoom].filter(([, changes]) => changes.some((change) => change.position > position)).map(([room]) => room),
    at(room, position, now) {
      const changes = byRoom.get(room)
      if (changes === undefined) return now
      const last = changes.findLast((change) => change.position <= position)
      return last === undefined ? changes[0]?.was : toMembership(last.entry, last.position, last.time)
    },
  }
}
