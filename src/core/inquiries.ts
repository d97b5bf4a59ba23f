import { BridgeError } from '../errors.ts'
import { type Publisher, requireScope } from './access.ts'
import type { Delivery } from './delivery.ts'
import type { Draft } from './draft.ts'
import type { EventEntry, Stored } from './entry.ts'
import type { EventLog } from './event-log.ts'
import { type SessionInfo, toSessionInfo } from './presence.ts'
import { beyondReach, mayPublish, requireAllRooms, requireRoom } from './reach.ts'
import type { Revocations } from './revocations.ts'
import { isEvent } from './run.ts'
import type { Stream } from './target.ts'

/** Whom an event would reach now. */
export interface Preview {
  readonly matched: number
  readonly users: number
  readonly sessions: number
}

/** What publishers may look up: who is connected, what is kept, what is revoked. Changes nothing. */
export class Inquiries {
  readonly #log: EventLog
  readonly #delivery: Pick<Delivery, 'presence' | 'peers' | 'revocations'>

  constructor(log: EventLog, delivery: Pick<Delivery, 'presence' | 'peers' | 'revocations'>) {
    this.#log = log
    this.#delivery = delivery
  }

  preview(publisher: Publisher, draft: Draft): Preview {
    requireScope(publisher, 'publish')
    if (!mayPublish(publisher, draft)) throw beyondReach(publisher, draft)
    const users = new Set<string>()
    let sessions = 0
    this.#delivery.presence.forEachMatch(draft.to, draft.except, (session) => {
      users.add(session.identity.user)
      sessions++
    })
    this.#delivery.peers.forEachUser(draft.to, draft.except, (user) => {
      users.add(user)
      sessions++
    })
    return { matched: sessions, users: users.size, sessions }
  }

  /** The revocations that are in force or have not been forgotten yet, in order; `after`: the position where a page ended. */
  revocations(publisher: Publisher, after: number, limit: number): ReturnType<Revocations['page']> {
    requireScope(publisher, 'admin')
    requireAllRooms(publisher)
    return this.#delivery.revocations.page(after, limit)
  }

  sessionsOfUser(publisher: Publisher, user: string): readonly SessionInfo[] {
    requireScope(publisher, 'read')
    requireAllRooms(publisher)
    const elsewhere = this.#delivery.peers
      .ofUser(user)
      .map(({ session, connectedAt, transport, rooms, expiresAt }) => ({ session, connectedAt, transport, rooms, expiresAt }))
    return [...[...this.#delivery.presence.ofUser(user)].map(toSessionInfo), ...elsewhere]
  }

  usersInRoom(publisher: Publisher, room: string): { readonly sessions: number; readonly users: readonly string[] } {
    requireScope(publisher, 'read')
    requireRoom(publisher, room)
    const here = [...this.#delivery.presence.inRoom(room)].map((session) => session.identity.user)
    const users = [...here, ...this.#delivery.peers.inRoom(room).map(({ user }) => user)]
    return { sessions: users.length, users: [...new Set(users)] }
  }

  /**
   * What is kept of one stream, after an offset (absent: from the oldest kept); it goes on after `next`.
   * @throws BridgeError gap
   */
  history(
    publisher: Publisher,
    stream: Stream,
    after: string | undefined,
    limit: number,
  ): { readonly events: readonly Stored<EventEntry>[]; readonly next: string } {
    requireScope(publisher, 'read')
    if (stream.startsWith('room:')) requireRoom(publisher, stream.slice('room:'.length))
    else requireAllRooms(publisher)
    const position = after === undefined ? this.#log.first() - 1 : this.#log.positionOf(after)
    if (position === undefined) throw new BridgeError('gap')
    const reading = this.#log.read(position, [stream], limit)
    if (reading.gap) throw new BridgeError('gap')
    return { events: reading.entries.filter(isEvent), next: this.#log.offsetOf(reading.upTo) }
  }
}
