import type { Identity } from './identity.ts'
import type { Revocation } from './revocation.ts'
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
  /** By the ids of token and login: a logout must not cost what there are sessions. */
  readonly #byTokenId = new Map<string, Set<Session>>()

  get size(): number {
    return this.#in('all').size
  }

  add(session: Session): void {
    for (const stream of this.#streamsOf(session)) put(this.#byStream, stream, session)
    for (const key of tokenIds(session.identity)) put(this.#byTokenId, key, session)
  }

  remove(session: Session): void {
    for (const stream of this.#streamsOf(session)) drop(this.#byStream, stream, session)
    for (const key of tokenIds(session.identity)) drop(this.#byTokenId, key, session)
  }

  /** The session has another token of its user now. */
  changeToken(session: Session, before: Identity): void {
    for (const key of tokenIds(before)) drop(this.#byTokenId, key, session)
    for (const key of tokenIds(session.identity)) put(this.#byTokenId, key, session)
  }

  enterRoom(session: Session, room: string): void {
    put(this.#byStream, roomStream(room), session)
  }

  leaveRoom(session: Session, room: string): void {
    drop(this.#byStream, roomStream(room), session)
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

  /** At least those that a revocation names. */
  nearRevocation({ jti, sid, user }: Revocation): ReadonlySet<Session> {
    const [key] = tokenIds({ ...(jti !== undefined && { jti }), ...(sid !== undefined && { sid }) })
    if (key !== undefined) return this.#byTokenId.get(key) ?? nobody
    return user === undefined ? this.all() : this.ofUser(user)
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
}

function put<Key>(index: Map<Key, Set<Session>>, key: Key, session: Session): void {
  const sessions = index.get(key)
  if (sessions === undefined) index.set(key, new Set([session]))
  else sessions.add(session)
}

function drop<Key>(index: Map<Key, Set<Session>>, key: Key, session: Session): void {
  const sessions = index.get(key)
  if (sessions?.delete(session) && sessions.size === 0) index.delete(key)
}

/** The most telling one first. */
function tokenIds({ jti, sid }: Pick<Identity, 'jti' | 'sid'>): readonly string[] {
  return [...(jti === undefined ? [] : [`jti:${jti}`]), ...(sid === undefined ? [] : [`sid:${sid}`])]
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
