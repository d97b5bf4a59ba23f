import type { PeerLink, PeerSession, PresenceChange } from './peers.ts'
import { type PresenceObserver, toSessionInfo } from './presence.ts'
import type { Session } from './session.ts'

/** Sessions that are told in one message when everything is told anew. */
const chunk = 500

/** What has happened to one session since the last announcement. */
type Pending =
  | { readonly kind: 'opened'; readonly session: Session }
  | { readonly kind: 'closed' }
  /** By room: whether it was entered. */
  | { readonly kind: 'rooms'; readonly rooms: Map<string, boolean> }

/**
 * Tells the other processes who is connected here: what happens in one tick goes out together, at its end. That is before a client gets what it is told in the
 * same tick, so those who hear of a session from its client know it already, as far as a line to another process can be sure of that.
 */
export class Announcer implements PresenceObserver {
  readonly #link: PeerLink
  readonly #told = new WeakMap<Session, { readonly transport: string; readonly expiresAt: number | null }>()
  #pending = new Map<string, Pending>()

  constructor(link: PeerLink) {
    this.#link = link
  }

  opened(session: Session): void {
    this.#put(session, { kind: 'opened', session })
  }

  closed(session: Session): void {
    this.#put(session, { kind: 'closed' })
  }

  /** Told as a whole: the others take it in place of what they know. */
  tokenChanged(session: Session): void {
    this.#put(session, { kind: 'opened', session })
  }

  roomChanged(session: Session, room: string, entered: boolean): void {
    const pending = this.#pending.get(session.id)
    if (pending === undefined) this.#put(session, { kind: 'rooms', rooms: new Map([[room, entered]]) })
    // One that was opened in this tick is told with the rooms that it has at the end of it.
    else if (pending.kind === 'rooms' && !pending.rooms.delete(room)) pending.rooms.set(room, entered)
  }

  /** Tells what changes unnoticed: the transport, and how long the login holds. To be called now and then. */
  tellDetails(sessions: Iterable<Session>): void {
    const changes: PresenceChange[] = []
    for (const session of sessions) {
      const told = this.#told.get(session)
      const { transport } = session.connection
      const expiresAt = session.identity.expiresAt ?? null
      if (told === undefined || (told.transport === transport && told.expiresAt === expiresAt)) continue
      this.#told.set(session, { transport, expiresAt })
      changes.push({ kind: 'details', session: session.id, transport, expiresAt })
    }
    if (changes.length > 0) this.#link.announce(changes)
  }

  /** Tells all anew. */
  tellAll(sessions: Iterable<Session>): void {
    this.#pending.clear()
    let changes: PresenceChange[] = [{ kind: 'all-begin' }]
    for (const session of sessions) {
      changes.push(this.#toOpened(session))
      if (changes.length < chunk) continue
      this.#link.announce(changes)
      changes = []
    }
    this.#link.announce([...changes, { kind: 'all-end' }])
  }

  #put(session: Session, pending: Pending): void {
    if (this.#pending.size === 0) queueMicrotask(() => this.#flush())
    this.#pending.set(session.id, pending)
  }

  #flush(): void {
    const pending = this.#pending
    this.#pending = new Map()
    const changes = [...pending].flatMap(([session, change]) => this.#toChanges(session, change))
    if (changes.length > 0) this.#link.announce(changes)
  }

  #toChanges(session: string, pending: Pending): readonly PresenceChange[] {
    switch (pending.kind) {
      case 'opened':
        return [this.#toOpened(pending.session)]
      case 'closed':
        return [{ kind: 'closed', session }]
      case 'rooms': {
        if (pending.rooms.size === 0) return []
        const of = (wanted: boolean): readonly string[] => [...pending.rooms].flatMap(([room, entered]) => (entered === wanted ? [room] : []))
        return [{ kind: 'rooms', session, entered: of(true), left: of(false) }]
      }
      default:
        return pending satisfies never
    }
  }

  #toOpened(session: Session): PresenceChange {
    const { user, iat, jti, sid } = session.identity
    const token = { ...(iat !== undefined && { iat }), ...(jti !== undefined && { jti }), ...(sid !== undefined && { sid }) }
    const told: PeerSession = { ...toSessionInfo(session), user, token, attachedAt: session.attachedAt }
    this.#told.set(session, { transport: told.transport, expiresAt: told.expiresAt })
    return { kind: 'opened', session: told }
  }
}
