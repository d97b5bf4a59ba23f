import { type RoomSource, type RoomState, roomSource } from './access.ts'
import { type EventEntry, type Membership, type MembershipEntry, type Stored, toMembership } from './entry.ts'
import type { Identity } from './identity.ts'
import type { SessionEnd } from './observer.ts'

/** What the server itself says to a session; names and shapes are those of PROTOCOL.md. */
export type Notice =
  | {
      readonly event: 'sidecast:ready'
      readonly data: {
        readonly user: string
        readonly session: string
        readonly rooms: readonly string[]
        readonly recovered: boolean
        readonly reason?: string
        readonly expiresAt: number | null
      }
    }
  | { readonly event: 'sidecast:expiring'; readonly data: { readonly expiresAt: number } }
  | { readonly event: 'sidecast:joined' | 'sidecast:left'; readonly data: { readonly room: string; readonly by: RoomSource } }

/** Headers of the handshake, by lower-case names. */
export type Forwarded = Readonly<Record<string, string>>

/** The line to one browser, as the hub sees it. An edge implements it. Nothing here may throw. */
export interface Connection {
  readonly transport: string
  /** What is handed on when the application is asked about this session: by the names of an allow-list, lower case; else empty. */
  readonly forwarded: Forwarded
  send(event: Stored<EventEntry>): void
  /** `position`: the place in the log that the notice belongs to; the client resumes after it. Absent: none; the client stays where it is. */
  notify(notice: Notice, position?: number): void
  /** So much waits for the client that it should read on from the log, at its own pace. */
  readonly full: boolean
  /** Set while the client has not taken what was written: resolves when there is room, or when the line is closed. */
  room(): Promise<void> | undefined
  /** Idempotent; the hub hears of it by `Hub.detach`. */
  close(end: SessionEnd): void
}

/** A room that a session has just entered or left. */
export interface RoomChange {
  readonly room: string
  readonly entered: boolean
  readonly by: RoomSource
}

/**
 * One authenticated connection, from `Hub.attach` to `Hub.detach`.
 * States: catching up (reads from the log, `live` false) -> live (gets what is dispatched after `since`) -> detached.
 * A live session whose client is too slow goes back to catching up: what waits for it then waits in the log, not in memory.
 */
export class Session {
  readonly id: string
  identity: Identity
  readonly connection: Connection
  /** Milliseconds since 1970. */
  readonly connectedAt: number
  /** The rooms that it is in, and why. Changed by `apply` and `restate` only. */
  readonly rooms = new Map<string, RoomSource>()
  /** The head of the log when it was taken in. */
  attachedAt = 0
  /** Live sessions get what stands after this position. */
  since = 0
  live = false
  detached = false
  /** Settles when what the session has asked for so far is done. */
  requests: Promise<void> = Promise.resolve()
  readonly #states = new Map<string, RoomState>()

  constructor(id: string, identity: Identity, connection: Connection, connectedAt: number) {
    this.id = id
    this.identity = identity
    this.connection = connection
    this.connectedAt = connectedAt
  }

  stateOf(room: string): RoomState {
    return this.#states.get(room) ?? {}
  }

  /** Whether the session has asked for or left rooms, which somebody must forget when it is over. */
  hasOwnMemberships(): boolean {
    return [...this.#states.values()].some((state) => state.session !== undefined)
  }

  /** Takes over what the log says at one position, in place of all that was known. */
  restate(ofUser: ReadonlyMap<string, Membership>, ofSession: ReadonlyMap<string, Membership>): void {
    this.#states.clear()
    for (const [room, user] of ofUser) this.#states.set(room, { user })
    for (const [room, session] of ofSession) this.#states.set(room, { ...this.#states.get(room), session })
    this.rooms.clear()
    for (const room of new Set([...this.#states.keys(), ...this.identity.rooms])) this.#update(room)
  }

  /** Follows one membership entry. */
  apply({ position, time, entry }: Stored<MembershipEntry>): RoomChange | undefined {
    const state = this.stateOf(entry.room)
    const membership = toMembership(entry, position, time)
    this.#states.set(entry.room, 'user' in entry.member ? { ...state, user: membership } : { ...state, session: membership })
    return this.#update(entry.room)
  }

  #update(room: string): RoomChange | undefined {
    const before = this.rooms.get(room)
    const now = roomSource(this.identity, room, this.stateOf(room))
    if (now === undefined) this.rooms.delete(room)
    else this.rooms.set(room, now)
    if (before === undefined && now !== undefined) return { room, entered: true, by: now }
    if (before !== undefined && now === undefined)
      return { room, entered: false, by: this.stateOf(room).user?.present === false ? 'backend' : before }
    return undefined
  }
}
