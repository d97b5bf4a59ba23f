import { setImmediate } from 'node:timers/promises'
import type { RoomSource } from './access.ts'
import { Announcer } from './announcer.ts'
import type { EventEntry, Member, MembershipEntry, Stored } from './entry.ts'
import type { EventLog } from './event-log.ts'
import type { Observer } from './observer.ts'
import { isNewer, type PeerLink, type PeerSession, Peers, type PresenceChange } from './peers.ts'
import { Presence } from './presence.ts'
import { readMissed, roomsLostSince } from './resume.ts'
import { isRevoked } from './revocation.ts'
import type { RoomChange, Session } from './session.ts'

/** Entries that a resume reads in one turn. */
const resumeChunk = 100

/** A connection attempt that its client has given up may come to life this late, at a process that was busy. */
const belatedMs = 60_000

export interface DeliveryOptions {
  readonly log: EventLog
  readonly observer: Observer
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** The other processes that serve the same log; absent: there are none. */
  readonly link?: PeerLink
}

/** From the log to the sessions: each gets what it is entitled to, once, in order, whether live or read later. */
export class Delivery {
  readonly presence: Presence
  /** Who is connected elsewhere. */
  readonly peers = new Peers()
  readonly #log: EventLog
  readonly #observer: Observer
  readonly #now: () => number
  /** Sessions that are gone but may resume, with their own memberships; by when they left. */
  readonly #departed = new Map<string, number>()

  constructor({ log, observer, now, link }: DeliveryOptions) {
    this.#log = log
    this.#observer = observer
    this.#now = now
    // Nobody is connected yet, so whoever had rooms of its own has left; those who are elsewhere will be told of.
    for (const session of log.sessionsWithMemberships()) this.#departed.set(session, now())
    const announcer = link && new Announcer(link)
    this.presence = new Presence(announcer)
    if (announcer === undefined) return
    link?.follow({
      changed: (node, changes) => this.#peersChanged(node, changes),
      gone: (node) => this.#depart(this.peers.forget(node)),
      asked: () => announcer.tellAll(this.presence.all()),
      due: () => announcer.tellDetails(this.presence.all()),
    })
  }

  /**
   * Takes a session in: it gets everything after `after`, then `sidecast:ready`, then what is dispatched; with nothing between and nothing twice.
   * Without `after` it starts at the head of the log.
   */
  attach(session: Session, ready: { readonly after?: number; readonly reason?: string }): void {
    // One session never has two connections: a half-open predecessor would take events that this one has to get.
    const predecessor = this.presence.byId(session.id)
    if (predecessor !== undefined) {
      predecessor.connection.close('replaced')
      this.detach(predecessor)
    }
    this.#departed.delete(session.id)
    this.peers.supersede(session.id)
    session.since = this.#log.head()
    session.attachedAt = session.since
    this.#restate(session)
    this.presence.add(session)
    this.#observer.sessionOpened()
    if (ready.after === undefined) {
      this.#makeLive(session, session.since)
      this.#welcome(session, { recovered: false, reason: ready.reason })
      return
    }
    // Before anything that moves its offset: a client that is cut before `ready` must know by then that what it had in these rooms ends here.
    for (const lost of roomsLostSince(this.#log, session, ready.after)) session.connection.notify(toNotice(lost), ready.after)
    this.#guard(session, this.#catchUp(session, ready.after))
  }

  detach(session: Session): void {
    if (session.detached) return
    session.detached = true
    this.presence.remove(session)
    if (session.hasOwnMemberships()) this.#departed.set(session.id, this.#now())
  }

  /** The log has lost entries, or this process has missed some: everybody comes back, and is told so by its offset. */
  startOver(): void {
    for (const session of [...this.presence.all()]) session.connection.close('transport')
    this.#departed.clear()
    for (const session of this.#log.sessionsWithMemberships()) this.#departed.set(session, this.#now())
  }

  /** Sessions that left before a moment and still have memberships. They are named until their end is dispatched. */
  departedBefore(time: number): readonly string[] {
    return [...this.#departed].filter(([, departedAt]) => departedAt < time).map(([session]) => session)
  }

  /** Gives an entry to those whom it concerns; returns how many sessions an event matched. To be called with every entry, in order. */
  dispatch(stored: Stored): number {
    const { entry, position } = stored
    switch (entry.kind) {
      case 'event':
        return this.#dispatchEvent({ ...stored, entry })
      case 'membership':
        for (const session of this.#reached(entry.member, position)) this.#dispatchMembership(session, { ...stored, entry })
        if ('user' in entry.member) this.peers.setMembership(entry.member.user, entry.room, entry.present)
        // It left while its request was on the way.
        if ('session' in entry.member && !this.#isConnected(entry.member.session)) this.#departed.set(entry.member.session, this.#now())
        return 0
      case 'disconnect':
        for (const session of this.#reached(entry.member, position)) session.connection.close('disconnected')
        this.#depart(this.peers.end(entry.member, position))
        return 0
      case 'session-ended':
        this.#departed.delete(entry.session)
        // It came back just as its rooms were forgotten: it must start anew, not go on without them.
        for (const session of this.#reached(entry, position)) session.connection.close('transport')
        return 0
      case 'revocation':
        // Also those that have come since: who came before it was read must not stay.
        for (const session of this.presence.all()) if (isRevoked(session.identity, entry.revocation)) session.connection.close('revoked')
        return 0
      case 'revocation-lifted':
        return 0
      default:
        return entry satisfies never
    }
  }

  /**
   * Sends from the log what stands after a position, as fast as the client takes it; then the session is live.
   * `lagging`: the rooms that a connected session was in when it fell behind; absent for one that resumes.
   */
  async #catchUp(session: Session, after: number, lagging?: ReadonlyMap<string, RoomSource>): Promise<void> {
    const joined = lagging === undefined ? { at: session.since, rooms: new Set(session.rooms.keys()) } : { at: after, rooms: new Set<string>() }
    let position = after
    let sent = 0
    // In one turn: the rooms, what is read, and going live are of one state of the log. The caller has taken the rooms in this turn.
    while (!session.detached) {
      const missed = readMissed(this.#log, session, position, resumeChunk, joined)
      if (missed.gap) {
        // Trimmed while the client was slow: it comes back and is told.
        session.connection.close('transport')
        return
      }
      position = missed.upTo
      let room: Promise<void> | undefined
      for (const event of missed.events) {
        session.connection.send(event)
        sent++
        room = session.connection.room()
        if (room === undefined) continue
        position = event.position
        break
      }
      if (room === undefined && !missed.more) {
        this.#makeLive(session, missed.upTo)
        if (lagging === undefined) {
          this.#observer.sessionResumed(sent)
          this.#welcome(session, { recovered: true })
        } else this.#tellRooms(session, lagging)
        return
      }
      // Others have their turn between two chunks.
      await (room ?? setImmediate())
      if (!session.detached) this.#restate(session)
    }
  }

  #makeLive(session: Session, position: number): void {
    session.since = position
    session.live = true
  }

  #welcome(session: Session, { recovered, reason }: { readonly recovered: boolean; readonly reason?: string | undefined }): void {
    const { user, expiresAt } = session.identity
    const data = {
      user,
      session: session.id,
      rooms: [...session.rooms.keys()],
      recovered,
      ...(reason === undefined ? {} : { reason }),
      expiresAt: expiresAt ?? null,
    }
    session.connection.notify({ event: 'sidecast:ready', data }, session.since)
  }

  /** The session's client has too much waiting: what follows stays in the log until there is room. */
  async #fallBehind(session: Session, position: number): Promise<void> {
    session.live = false
    const rooms = new Map(session.rooms)
    await session.connection.room()
    if (session.detached) return
    this.#restate(session)
    await this.#catchUp(session, position, rooms)
  }

  /** A catch-up that fails ends the connection: the client comes back and asks again. */
  #guard(session: Session, catchUp: Promise<void>): void {
    catchUp.catch((error: unknown) => {
      this.#observer.failed(error)
      session.connection.close('transport')
    })
  }

  /** The changes of rooms that a session could not be told while it was behind. */
  #tellRooms(session: Session, before: ReadonlyMap<string, RoomSource>): void {
    for (const [room, by] of before) if (!session.rooms.has(room)) session.connection.notify(toNotice({ room, entered: false, by }), session.since)
    for (const [room, by] of session.rooms) if (!before.has(room)) session.connection.notify(toNotice({ room, entered: true, by }), session.since)
  }

  /** Takes the rooms from the head of the log. */
  #restate(session: Session): void {
    for (const room of session.rooms.keys()) this.presence.leaveRoom(session, room)
    session.restate(this.#log.memberships({ user: session.identity.user }), this.#log.memberships({ session: session.id }))
    for (const room of session.rooms.keys()) this.presence.enterRoom(session, room)
  }

  #dispatchEvent(stored: Stored<EventEntry>): number {
    let matched = 0
    this.presence.forEachMatch(stored.entry.to, stored.entry.except, (session) => {
      if (stored.position <= session.since) return
      matched++
      if (!session.live) return
      session.connection.send(stored)
      if (session.connection.full) this.#guard(session, this.#fallBehind(session, stored.position))
    })
    this.#observer.eventDispatched(matched)
    return this.peers.size === 0 ? matched : matched + this.peers.countMatches(stored.entry.to, stored.entry.except)
  }

  #dispatchMembership(session: Session, stored: Stored<MembershipEntry>): void {
    const change = session.apply(stored)
    if (change === undefined) return
    if (change.entered) this.presence.enterRoom(session, change.room)
    else this.presence.leaveRoom(session, change.room)
    // A session that is catching up is told its rooms at the end.
    if (session.live) session.connection.notify(toNotice(change), stored.position)
  }

  #isConnected(session: string): boolean {
    return this.presence.byId(session) !== undefined || this.peers.has(session)
  }

  #peersChanged(node: string, changes: readonly PresenceChange[]): void {
    for (const change of changes) if (change.kind === 'opened') this.#openedElsewhere(change.session)
    this.#depart(
      this.peers.apply(
        node,
        changes.filter((change) => change.kind !== 'opened' || this.presence.byId(change.session.session) === undefined),
      ),
    )
  }

  /** One session never has two connections, wherever they are: the older one ends. */
  #openedElsewhere(theirs: PeerSession): void {
    this.#departed.delete(theirs.session)
    const own = this.presence.byId(theirs.session)
    if (own === undefined || !isNewer(theirs, own)) return
    // Theirs may be an attempt that the client has given up since, and then ours is the living one: it is let come back, which settles it.
    own.connection.close(theirs.connectedAt - own.connectedAt > belatedMs ? 'replaced' : 'transport')
    this.detach(own)
    this.#departed.delete(theirs.session)
  }

  /** Sessions that have left another process. */
  #depart(sessions: readonly string[]): void {
    for (const session of sessions) {
      if (!this.#isConnected(session) && this.#log.memberships({ session }).size > 0) this.#departed.set(session, this.#now())
    }
  }

  /** The sessions of a member that have not taken in this position already. */
  #reached(member: Member, position: number): readonly Session[] {
    const sessions = 'user' in member ? [...this.presence.ofUser(member.user)] : [this.presence.byId(member.session)]
    return sessions.filter((session) => session !== undefined).filter((session) => position > session.since)
  }
}

function toNotice({ room, entered, by }: RoomChange) {
  return { event: entered ? 'sidecast:joined' : 'sidecast:left', data: { room, by } } as const
}
