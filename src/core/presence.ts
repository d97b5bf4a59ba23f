import type { Session } from './session.ts'
import { type Except, roomStream, type Stream, sessionStream, type Target, toStreams, userStream } from './target.ts'

/** What can be told about a session. Times in milliseconds since 1970. */
export interface SessionInfo {
  readonly session: string
  readonly connectedAt: number
  readonly transport: string
  readonly rooms: readonly string[]
  readonly expiresAt: number | null
}

const nobody: ReadonlySet<Session> = new Set()

/** Who is connected, by the streams under which events find them. */
export class Presence {
  readonly #byStream = new Map<Stream, Set<Session>>()

  get size(): number {
    return this.#in('all').size
  }

  add(session: Session): void {
    for (const stream of this.#streamsOf(session)) this.#put(stream, session)
  }

  remove(session: Session): void {
    for (const stream of this.#streamsOf(session)) this.#drop(stream, session)
  }

  enterRoom(session: Session, room: string): void {
    this.#put(roomStream(room), session)
  }

  leaveRoom(session: Session, room: string): void {
    this.#drop(roomStream(room), session)
  }

  all(): ReadonlySet<Session> {
    return this.#in('all')
  }

  byId(session: string): Session | undefined {
    return this.#in(sessionStream(session)).values().next().value
  }

  ofUser(user: string): ReadonlySet<Session> {
    return this.#in(userStream(user))
  }

  inRoom(room: string): ReadonlySet<Session> {
    return this.#in(roomStream(room))
  }

  /** Calls back once for each session that the target names and the exception does not. */
  forEachMatch(to: Target, except: Except, visit: (session: Session) => void): void {
    const streams = toStreams(to)
    const [first] = streams
    const anyException = except.users.length > 0 || except.sessions.length > 0
    // The common case, one stream and no exception, makes nothing per recipient.
    if (streams.length === 1 && first !== undefined && !anyException) {
      for (const session of this.#in(first)) visit(session)
      return
    }
    const seen = new Set<Session>()
    for (const session of anyException ? this.#excepted(except) : nobody) seen.add(session)
    for (const stream of streams) {
      for (const session of this.#in(stream)) {
        if (seen.has(session)) continue
        seen.add(session)
        visit(session)
      }
    }
  }

  *#excepted(except: Except): Iterable<Session> {
    for (const user of except.users) yield* this.ofUser(user)
    for (const id of except.sessions) yield* this.#in(sessionStream(id))
  }

  #streamsOf(session: Session): readonly Stream[] {
    return ['all', userStream(session.identity.user), sessionStream(session.id), ...[...session.rooms.keys()].map(roomStream)]
  }

  #in(stream: Stream): ReadonlySet<Session> {
    return this.#byStream.get(stream) ?? nobody
  }

  #put(stream: Stream, session: Session): void {
    const sessions = this.#byStream.get(stream)
    if (sessions === undefined) this.#byStream.set(stream, new Set([session]))
    else sessions.add(session)
  }

  #drop(stream: Stream, session: Session): void {
    const sessions = this.#byStream.get(stream)
    if (sessions?.delete(session) && sessions.size === 0) this.#byStream.delete(stream)
  }
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
