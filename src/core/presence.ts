import type { Identity } from './identity.ts'
import { type Revocation, tokenIds } from './revocation.ts'
import type { Session } from './session.ts'
import { SetIndex } from './set-index.ts'
import { StreamIndex } from './stream-index.ts'
import type { Except, Target } from './target.ts'

/** What can be told about a session. Times in milliseconds since 1970. */
export interface SessionInfo {
  readonly session: string
  readonly connectedAt: number
  readonly transport: string
  readonly rooms: readonly string[]
  readonly expiresAt: number | null
}

/** Hears of every change of who is connected here, and in which rooms. Rooms of one session are entered and left in turns. */
export interface PresenceObserver {
  opened(session: Session): void
  closed(session: Session): void
  /** It goes on with another token of its user. */
  tokenChanged(session: Session): void
  roomChanged(session: Session, room: string, entered: boolean): void
}

/** Who is connected here, by the streams under which events find them. */
export class Presence {
  readonly #index = new StreamIndex<Session>()
  /** By the ids of token and login: a logout must not cost what there are sessions. */
  readonly #byTokenId = new SetIndex<string, Session>()
  /** Absent: there is nobody else who wants to know. */
  readonly #observer: PresenceObserver | undefined

  constructor(observer?: PresenceObserver) {
    this.#observer = observer
  }

  get size(): number {
    return this.all().size
  }

  add(session: Session): void {
    this.#index.put(session, placeOf(session))
    for (const key of tokenIds(session.identity)) this.#byTokenId.put(key, session)
    this.#observer?.opened(session)
  }

  remove(session: Session): void {
    this.#index.drop(session, placeOf(session))
    for (const key of tokenIds(session.identity)) this.#byTokenId.drop(key, session)
    this.#observer?.closed(session)
  }

  /** The session has another token of its user now. */
  changeToken(session: Session, before: Identity): void {
    for (const key of tokenIds(before)) this.#byTokenId.drop(key, session)
    for (const key of tokenIds(session.identity)) this.#byTokenId.put(key, session)
    this.#observer?.tokenChanged(session)
  }

  enterRoom(session: Session, room: string): void {
    this.#index.rooms.put(room, session)
    this.#observer?.roomChanged(session, room, true)
  }

  leaveRoom(session: Session, room: string): void {
    this.#index.rooms.drop(room, session)
    this.#observer?.roomChanged(session, room, false)
  }

  all(): ReadonlySet<Session> {
    return this.#index.all
  }

  byId(session: string): Session | undefined {
    return this.#index.sessions.of(session).values().next().value
  }

  ofUser(user: string): ReadonlySet<Session> {
    return this.#index.users.of(user)
  }

  /** At least those that a revocation names. */
  nearRevocation({ jti, sid, user }: Revocation): ReadonlySet<Session> {
    const [key] = tokenIds({ jti, sid })
    if (key !== undefined) return this.#byTokenId.of(key)
    return user === undefined ? this.all() : this.ofUser(user)
  }

  inRoom(room: string): ReadonlySet<Session> {
    return this.#index.rooms.of(room)
  }

  /** Calls back once for each session that the target names and the exception does not. */
  forEachMatch(to: Target, except: Except, visit: (session: Session) => void): void {
    this.#index.forEachMatch(to, except, visit)
  }
}

function placeOf({ id, identity, rooms }: Session) {
  return { user: identity.user, session: id, rooms: rooms.keys() }
}

export function toSessionInfo(session: Session): SessionInfo {
  return {
    session: session.id,
    connectedAt: session.connectedAt,
    transport: session.connection.transport,
    rooms: [...session.rooms.keys()],
    expiresAt: session.identity.expiresAt ?? null,
  }
}
