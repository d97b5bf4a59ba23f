import type { Revocation } from './revocation.ts'
import { type Except, type Stream, type Target, toStreams } from './target.ts'

/** A published event. */
export interface EventEntry {
  readonly kind: 'event'
  /** The publisher's id, or one of ours. */
  readonly id: string
  /** What a repeated `id` is compared by; absent when the id is ours and cannot be repeated. */
  readonly digest?: string
  readonly event: string
  /** JSON text, passed through to the browser as it is: digits of large integers survive. */
  readonly data: string
  readonly to: Target
  readonly except: Except
  /** Delivered live, in order, but never resumed. */
  readonly volatile: boolean
}

/** Whose membership: a user's is the backend's word and outlives sessions; a session's is its own request. */
export type Member = { readonly user: string } | { readonly session: string }

/** A change of who is in a room. */
export interface MembershipEntry {
  readonly kind: 'membership'
  readonly room: string
  readonly member: Member
  readonly present: boolean
  /** For a session's own: somebody but its login token has allowed it, a room token or the application; it holds no longer than that. When it is over, not `present`. */
  readonly authorized?: Authorized
}

/** Times in milliseconds since 1970. */
export interface Authorized {
  /** Absent: as long as the session, with its resumes. */
  readonly until?: number
  /** When it was given: a removal of the user that came before its entry holds if it is not older than this. */
  readonly givenAt: number
}

/** A session, or all sessions of a user, ends now and does not come back by itself. */
export interface DisconnectEntry {
  readonly kind: 'disconnect'
  readonly member: Member
}

/** A session is over and can no longer be resumed: its own memberships are forgotten. */
interface SessionEndedEntry {
  readonly kind: 'session-ended'
  readonly session: string
}

/** From here on the tokens that it names are worth nothing. One with the same id takes its place, and refuses no less. */
export interface RevocationEntry {
  readonly kind: 'revocation'
  readonly revocation: Revocation
}

/** The revocation of this id is no more: somebody has lifted it, or it has expired. */
interface RevocationLiftedEntry {
  readonly kind: 'revocation-lifted'
  readonly id: string
  /** Set: only if it has expired by then, for another may have taken its place meanwhile. Milliseconds since 1970. */
  readonly expiredBy?: number
}

/** Everything that changes what a client may see. */
export type Entry = EventEntry | MembershipEntry | DisconnectEntry | SessionEndedEntry | RevocationEntry | RevocationLiftedEntry

/** The last word about one member and one room. */
export interface Membership {
  readonly present: boolean
  readonly position: number
  /** Milliseconds since 1970. */
  readonly time: number
  readonly authorized?: Authorized
}

export function toMembership({ present, authorized }: MembershipEntry, position: number, time: number): Membership {
  return { present, position, time, ...(authorized && { authorized }) }
}

/** An entry that has its place in the order. */
export interface Stored<E extends Entry = Entry> {
  readonly position: number
  /** Milliseconds since 1970; never decreases along the log. */
  readonly time: number
  readonly entry: E
  /** For a membership entry: the membership that it replaced, so that a reader knows the state before it. */
  readonly was?: Membership
}

/** The stream of what was said about a member; apart from the events, so that it stays short to read. */
export function changesStream(member: Member): Stream {
  return 'user' in member ? `changes:user:${member.user}` : `changes:session:${member.session}`
}

/** The streams by which an entry can be read again; none: it cannot. */
export function entryStreams(entry: Entry): readonly Stream[] {
  switch (entry.kind) {
    case 'event':
      return entry.volatile ? [] : toStreams(entry.to)
    case 'membership':
    case 'disconnect':
      return [changesStream(entry.member)]
    case 'session-ended':
      return [changesStream(entry)]
    // A state of the log, which outlives its retention.
    case 'revocation':
    case 'revocation-lifted':
      return []
    default:
      return entry satisfies never
  }
}
