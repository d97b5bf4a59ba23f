import { BridgeError } from '../errors.ts'
import { mayJoin, roomSource } from './access.ts'
import type { Appends } from './appends.ts'
import type { Authorized } from './entry.ts'
import type { RoomAuthorizer } from './room-authorizer.ts'
import type { Session } from './session.ts'

export interface RoomRequestsOptions {
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly maxRoomsPerSession: number
  /** Who decides on rooms that a login token does not open; absent: nobody, they stay closed. */
  readonly authorizeRoom?: RoomAuthorizer
}

/** What sessions ask for themselves: rooms to join and to leave. */
export class RoomRequests {
  readonly #appends: Appends
  readonly #options: RoomRequestsOptions

  constructor(appends: Appends, options: RoomRequestsOptions) {
    this.#appends = appends
    this.#options = options
  }

  /**
   * Puts a session into a room that its token opens; else whoever decides on rooms is asked. `roomToken`: what the client shows for the room.
   * A stay that ends by itself is asked for anew. Several joins of one room at once are one.
   * @throws BridgeError room_forbidden, room_limit, log_unavailable, and what the RoomAuthorizer throws
   */
  join(session: Session, room: string, roomToken?: string): Promise<void> {
    const pending = session.joins.get(room)
    if (pending !== undefined && pending.roomToken === roomToken) return pending.done
    // Before its turn: a page that opens with ten rooms does not wait for ten answers one after the other.
    const early = this.#stays(session, room) || this.#mayJoin(session, room) ? undefined : this.#authorize(session, room, roomToken)
    early?.catch(() => {})
    const done = this.#inTurn(session, async () => {
      if (this.#stays(session, room)) return
      const authorized = this.#mayJoin(session, room) ? undefined : await (early ?? this.#authorize(session, room, roomToken))
      const now = this.#options.now()
      const wish = { present: true, position: Number.POSITIVE_INFINITY, time: now, ...(authorized && { authorized }) }
      if (roomSource(session.identity, room, { user: session.stateOf(room).user, session: wish }, now) === undefined)
        throw new BridgeError('room_forbidden')
      if (!session.rooms.has(room) && session.rooms.size >= this.#options.maxRoomsPerSession) throw new BridgeError('room_limit')
      await this.#appends.control({ kind: 'membership', room, member: { session: session.id }, present: true, ...(authorized && { authorized }) })
      // A removal may have come first in the log.
      if (!session.rooms.has(room)) throw new BridgeError('room_forbidden')
    }).finally(() => {
      if (session.joins.get(room)?.done === done) session.joins.delete(room)
    })
    session.joins.set(room, { roomToken, done })
    return done
  }

  /** @throws BridgeError room_managed, log_unavailable */
  leave(session: Session, room: string): Promise<void> {
    session.joins.delete(room)
    return this.#inTurn(session, async () => {
      const by = session.rooms.get(room)
      if (by === undefined) return
      if (by !== 'backend') await this.#appends.control({ kind: 'membership', room, member: { session: session.id }, present: false })
      // Also when the backend's word came first in the log.
      if (session.rooms.get(room) === 'backend') throw new BridgeError('room_managed')
    })
  }

  /** Writes down that the session's stay in a room is over, so that a resume does not tell of it again. @throws BridgeError log_unavailable */
  forgetLapsed(session: Session, room: string): Promise<void> {
    return this.#inTurn(session, async () => {
      const authorized = session.stateOf(room).session?.authorized
      if (session.detached || authorized === undefined || !session.lapsedRooms(this.#options.now()).includes(room)) return
      await this.#appends.control({ kind: 'membership', room, member: { session: session.id }, present: false, authorized })
    })
  }

  /** One request of a session after the other: whoever leaves a room and asks for it again, without waiting, means the last. */
  #inTurn(session: Session, request: () => Promise<void>): Promise<void> {
    const turn = session.requests.then(request)
    session.requests = turn.catch(() => {})
    return turn
  }

  /** Whether the session is in the room, for as long as nothing happens. */
  #stays(session: Session, room: string): boolean {
    return session.rooms.has(room) && session.stayEndsAt(room) === undefined
  }

  #mayJoin(session: Session, room: string): boolean {
    return mayJoin(session.identity, room, session.stateOf(room).user)
  }

  async #authorize(session: Session, room: string, roomToken: string | undefined): Promise<Authorized> {
    const { authorizeRoom } = this.#options
    if (authorizeRoom === undefined) throw new BridgeError('room_forbidden')
    const { until, givenAt } = await authorizeRoom.authorize(session, room, roomToken)
    return { givenAt, ...(until === undefined ? {} : { until }) }
  }
}
