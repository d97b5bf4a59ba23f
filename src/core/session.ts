import { type RoomSource, type RoomState, roomSource, stayEndsAt } from './access.ts'
import { type EventEntry, type Membership, type MembershipEntry, type RevocationEntry, type Stored, toMembership } from './entry.ts'
import type { Identity } from './identity.ts'
import { Logins } from './logins.ts'
import type { Notice, RoomChange } from './notice.ts'
import type { SessionEnd } from './observer.ts'
import { endsSession } from './revocation.ts'

/** Headers of the handshake, by lower-case names. */
export type Forwarded = Readonly<Record<string, string>>

/** The line to one browser, as the hub sees it. An edge implements it. Nothing here may throw. */
export interface Connection {
  readonly transport: string
  /** What is handed on when the application is asked about this session: by the names of an allow-list, lower case; else empty. */
  readonly forwarded: Forwarded
  send(events: readonly Stored<EventEntry>[]): void
  /** `position`: the place in the log that the notice belongs to; the client resumes after it. Absent: none; the client stays where it is. */
  notify(notice: Notice, position?: number): void
  /** So much waits for the client that it should read on from the log, at its own pace. */
  readonly full: boolean
  /** Set while the client has not taken what was written: resolves when there is room, or when the line is closed. */
  room(): Promise<void> | undefined
  /** Idempotent; the hub hears of it by `Hub.detach`. */
  close(end: SessionEnd): void
}

/** The client hears of the end of its token so long before; with less than four times that left, at a quarter of it. */
const noticeMs = 60_000

/** Shared by all sessions that have not asked for anything: an idle one should cost little. */
const nothing: Promise<void> = Promise.resolve()

/** Never written to: that of all sessions for which the log has no memberships. */
const noStates = new Map<string, RoomState>()

interface Join {
  readonly roomToken: string | undefined
  readonly done: Promise<void>
}

/**
 * One authenticated connection, from `Hub.attach` to `Hub.detach`.
 * States: catching up (reads from the log, `live` false) -> live (gets what is dispatched after `since`) -> detached.
 * A live session whose client is too slow goes back to catching up: what waits for it then waits in the log, not in memory.
 */
export class Session {
  readonly id: string
  readonly logins: Logins
  readonly connection: Connection
  /** Milliseconds since 1970. */
  readonly connectedAt: number
  /** The rooms that it is in, and why. Changed by the methods below only. */
  readonly rooms = new Map<string, RoomSource>()
  /** The head of the log when it was attached: what stands behind it has come while it was there. */
  attachedAt = 0
  /** Live sessions get what stands after this position. */
  since = 0
  live = false
  detached = false
  /** Where in the log its rooms were taken over as a whole; undefined: it has followed entries since. */
  statesAt: number | undefined
  /** Settles when what the session has asked for so far is done. */
  requests: Promise<void> = nothing
  /** When the client is to be told that its token ends soon. Milliseconds since 1970; undefined: never, or it was told. */
  expiringAt: number | undefined
  #joins: Map<string, Join> | undefined
  #states = noStates

  constructor(id: string, identity: Identity, connection: Connection, connectedAt: number) {
    this.id = id
    this.logins = new Logins(identity)
    this.connection = connection
    this.connectedAt = connectedAt
    this.expiringAt = toExpiringAt(identity, connectedAt)
  }

  /** Of the current token. */
  get identity(): Identity {
    return this.logins.current
  }

  /** The joins that are not done, by room; a leave parts those before it from those after it. */
  get joins(): Map<string, Join> {
    this.#joins ??= new Map()
    return this.#joins
  }

  /** From here on it gets what is dispatched after `position`. */
  goLive(position: number): void {
    this.since = position
    this.live = true
  }

  /** Tells the client where it stands. `reason`: why it could not go on where it was. */
  welcome({ recovered, reason }: { readonly recovered: boolean; readonly reason?: string | undefined }): void {
    const { user, expiresAt = null } = this.identity
    const data = { user, session: this.id, rooms: [...this.rooms.keys()], recovered, ...(reason === undefined ? {} : { reason }), expiresAt }
    this.connection.notify({ event: 'sidecast:ready', data }, this.since)
  }

  stateOf(room: string): RoomState {
    return this.#states.get(room) ?? {}
  }

  /** Whether the session has asked for or left rooms, which somebody must forget when it is over. */
  hasOwnMemberships(): boolean {
    return [...this.#states.values()].some((state) => state.session !== undefined)
  }

  /** Takes over what the log says at one position, in place of all that was known. */
  restate(ofUser: ReadonlyMap<string, Membership>, ofSession: ReadonlyMap<string, Membership>, position: number, time: number): void {
    this.statesAt = position
    this.#states = noStates
    for (const [room, user] of ofUser) this.#setState(room, { user })
    for (const [room, session] of ofSession) this.#setState(room, { ...this.#states.get(room), session })
    this.rooms.clear()
    for (const room of new Set([...this.#states.keys(), ...this.identity.rooms])) this.#update(room, time)
  }

  /** Follows one membership entry. */
  apply({ position, time, entry }: Stored<MembershipEntry>): RoomChange | undefined {
    this.statesAt = undefined
    const state = this.stateOf(entry.room)
    const membership = toMembership(entry, position, time)
    this.#setState(entry.room, 'user' in entry.member ? { ...state, user: membership } : { ...state, session: membership })
    const change = this.#update(entry.room, time)
    return change?.entered === false && 'user' in entry.member ? { ...change, by: 'backend' } : change
  }

  /** Goes on with another token of the same user, for what stands after `position`. Rooms that it leaves come before those that it enters. */
  refresh(identity: Identity, position: number, time: number): readonly RoomChange[] {
    if (identity.expiresAt !== this.identity.expiresAt) this.expiringAt = toExpiringAt(identity, time)
    this.logins.replace(identity, this.live ? undefined : { upTo: position, rooms: [...this.rooms.keys()] })
    const changes = [...new Set([...this.rooms.keys(), ...this.#states.keys(), ...identity.rooms])].flatMap((room) => this.#update(room, time) ?? [])
    return changes.toSorted((one, other) => Number(one.entered) - Number(other.entered))
  }

  /** Looks at what it was allowed: leaves the rooms in which it was by nothing else, once that is over. */
  endStays(time: number): readonly RoomChange[] {
    return [...this.rooms].flatMap(([room, by]) => (by === 'request' ? (this.#update(room, time) ?? []) : []))
  }

  /** The rooms that it had asked for and was allowed for a time that is over. */
  lapsedRooms(time: number): readonly string[] {
    const isLapsed = ({ session }: RoomState): boolean => session?.present === true && (session.authorized?.until ?? Number.POSITIVE_INFINITY) <= time
    return [...this.#states].flatMap(([room, state]) => (isLapsed(state) && !this.rooms.has(room) ? [room] : []))
  }

  /** When what it was allowed ends, for the rooms in which it is by that. */
  rightsEndAt(): readonly number[] {
    return [...this.rooms].flatMap(([room, by]) => (by === 'request' ? (this.stateOf(room).session?.authorized?.until ?? []) : []))
  }

  /** When its stay in a room ends by itself; undefined: not by itself. */
  stayEndsAt(room: string): number | undefined {
    return stayEndsAt(this.identity, room, this.stateOf(room))
  }

  isEndedBy({ position, time, entry: { revocation } }: Stored<RevocationEntry>): boolean {
    return endsSession(this.identity, this.attachedAt, { position, time, revocation })
  }

  #setState(room: string, state: RoomState): void {
    if (this.#states === noStates) this.#states = new Map()
    this.#states.set(room, state)
  }

  #update(room: string, time: number): RoomChange | undefined {
    const before = this.rooms.get(room)
    const now = roomSource(this.identity, room, this.stateOf(room), time)
    if (now === undefined) this.rooms.delete(room)
    else this.rooms.set(room, now)
    if (before === undefined && now !== undefined) return { room, entered: true, by: now }
    return before !== undefined && now === undefined ? { room, entered: false, by: before } : undefined
  }
}

function toExpiringAt({ expiresAt }: Identity, now: number): number | undefined {
  return expiresAt === undefined ? undefined : expiresAt - Math.min(noticeMs, Math.max(0, expiresAt - now) / 4)
}
