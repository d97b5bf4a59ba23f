import { Announcer } from './announcer.ts'
import { CatchUp } from './catch-up.ts'
import { Departures } from './departures.ts'
import type { Entry, EventEntry, Member, Membership, MembershipEntry, RevocationEntry, Stored } from './entry.ts'
import type { EventLog } from './event-log.ts'
import type { Identity } from './identity.ts'
import { Lifetimes } from './lifetimes.ts'
import { type RoomChange, toRoomNotice } from './notice.ts'
import type { Observer } from './observer.ts'
import { isNewer, type PeerLink, type PeerSession, Peers, type PresenceChange } from './peers.ts'
import { Presence } from './presence.ts'
import { changesSince, refusalOf, roomsLostSince } from './resume.ts'
import { Revocations } from './revocations.ts'
import type { Run } from './run.ts'
import type { Session } from './session.ts'

/** A connection attempt that its client has given up may come to life this late, at a process that was busy. */
const belatedMs = 60_000

const noMemberships: ReadonlyMap<string, Membership> = new Map()

/** What `sidecast:ready` is to say, and where the session starts. */
export interface Ready {
  readonly after?: number
  /** The head of the log when `after` was decided. */
  readonly plannedAt?: number
  readonly reason?: string
  readonly isNew?: boolean
}

export interface DeliveryOptions {
  readonly log: EventLog
  readonly observer: Observer
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** How long a session outlives its token. */
  readonly clockToleranceMs: number
  /** The other processes that serve the same log; absent: there are none. */
  readonly link?: PeerLink
}

/** From the log to the sessions: each gets what it is entitled to, once, in order, whether live or read later. */
export class Delivery {
  readonly presence: Presence
  /** Who is connected elsewhere. */
  readonly peers = new Peers()
  readonly revocations: Revocations
  readonly #log: EventLog
  readonly #observer: Observer
  readonly #now: () => number
  readonly #clockToleranceMs: number
  /** When a session has to be looked at: its token ends, or what it was allowed. */
  readonly #lifetimes = new Lifetimes<Session>()
  readonly #catchUp: CatchUp
  /** Rooms that sessions had asked for and may be in no longer, until their log entry is written. */
  #lapsed: { readonly session: Session; readonly room: string }[] = []
  /** The last entry that was dispatched. */
  #position: number
  readonly #departures: Departures

  constructor({ log, observer, now, clockToleranceMs, link }: DeliveryOptions) {
    this.#log = log
    this.#observer = observer
    this.#now = now
    this.#clockToleranceMs = clockToleranceMs
    this.#position = log.head()
    this.revocations = new Revocations(log, now)
    observer.revocationsInForce(this.revocations.size)
    this.#catchUp = new CatchUp({ log, observer, revocations: this.revocations, restate: (session) => this.#restate(session) })
    // Nobody is connected yet, so whoever had rooms of its own has left; those who are elsewhere will be told of.
    this.#departures = new Departures(log, now)
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
   * Without `after` it starts at the head of the log. `isNew`: its id was made for it, so the log does not know it.
   */
  attach(session: Session, ready: Ready): void {
    // One session never has two connections: a half-open predecessor would take events that this one has to get.
    const predecessor = this.presence.byId(session.id)
    if (predecessor !== undefined) {
      predecessor.connection.close('replaced')
      this.detach(predecessor)
    }
    this.#departures.delete(session.id)
    this.peers.supersede(session.id)
    session.attachedAt = this.#log.head()
    session.since = session.attachedAt
    this.#restate(session, ready.isNew)
    this.presence.add(session)
    this.#observer.sessionOpened()
    // Whatever came between its admission and now.
    if (this.revocations.find(session.identity) !== undefined) {
      session.connection.close('revoked')
      return
    }
    if (ready.after === undefined) {
      session.goLive(session.since)
      session.welcome({ recovered: false, reason: ready.reason })
      return
    }
    // It was ended just now: it comes back, and is told so.
    const before = ready.isNew === true ? undefined : session.id
    if (ready.plannedAt !== session.attachedAt && refusalOf(this.#log, session.identity.user, before, ready.after) !== undefined) {
      session.connection.close('transport')
      return
    }
    // A revocation is over together with its tokens: whoever was verified just before that is not told what was kept from it.
    if (this.#isOver(session, this.#now())) {
      session.connection.close('expired')
      return
    }
    // Before anything that moves its offset: a client that is cut before `ready` must know by then that what it had in these rooms ends here.
    const changes = changesSince(this.#log, session, ready.after)
    for (const lost of roomsLostSince(session, ready.after, this.#now(), changes)) session.connection.notify(toRoomNotice(lost), ready.after)
    this.#lapsed.push(...session.lapsedRooms(this.#now()).map((room) => ({ session, room })))
    this.#catchUp.resume(session, ready.after, changes)
  }

  detach(session: Session): void {
    if (session.detached) return
    session.detached = true
    this.#lifetimes.delete(session)
    this.presence.remove(session)
    if (session.hasOwnMemberships()) this.#departures.add(session.id)
  }

  /** Goes on with another token of the same user: what that does not open is left at once, what it names is joined. */
  refresh(session: Session, identity: Identity): void {
    if (session.detached) return
    // All up to here has been given to a live session.
    const position = Math.max(this.#position, session.since)
    session.attachedAt = this.#log.head()
    const before = session.identity
    const changes = session.refresh(identity, position, this.#now())
    this.presence.changeToken(session, before)
    this.#follow(session, changes, position)
    this.#schedule(session)
  }

  /** Does what is due: says whose token ends soon, ends whose token has ended, and ends what was allowed until now. Costs nothing for all others. */
  expire(time: number): void {
    for (const session of this.#lifetimes.due(time)) this.#age(session, time)
  }

  /** The rooms that have lapsed since this was asked last. */
  takeLapsed(): readonly { readonly session: Session; readonly room: string }[] {
    const lapsed = this.#lapsed
    this.#lapsed = []
    return lapsed
  }

  /** The log has lost entries, or this process has missed some: everybody comes back, and is told so by its offset. */
  startOver(): void {
    for (const session of [...this.presence.all()]) session.connection.close('transport')
    this.revocations.reload()
    this.#observer.revocationsInForce(this.revocations.size)
    this.#position = this.#log.head()
    this.#departures.reload()
  }

  /** See `Departures.before`. */
  departedBefore(time: number, limit: number): readonly string[] {
    return this.#departures.before(time, limit)
  }

  /** Gives a run of events to those whom it concerns; returns how many sessions each of them matched. */
  dispatchEvents(run: Run): readonly number[] {
    const [first, last] = [run[0], run.at(-1)]
    if (first === undefined || last === undefined) return []
    this.#advance(last)
    const { to, except } = first.entry
    let matched = 0
    /** Those that went live within the run. */
    const late: Session[] = []
    this.presence.forEachMatch(to, except, (session) => {
      if (session.since >= last.position) return
      const isLate = session.since >= first.position
      if (isLate) late.push(session)
      else matched++
      if (!session.live) return
      session.connection.send(isLate ? run.filter(({ position }) => position > session.since) : run)
      if (session.connection.full) this.#catchUp.fallBehind(session, last.position)
    })
    const counts = run.map(({ position }) => matched + late.filter(({ since }) => position > since).length)
    for (const count of counts) this.#observer.eventDispatched(count)
    const elsewhere = this.peers.size === 0 ? 0 : this.peers.countMatches(to, except)
    return elsewhere === 0 ? counts : counts.map((count) => count + elsewhere)
  }

  /** Gives an entry to those whom it concerns; returns how many sessions a revocation ended. To be called with every entry that is no event, in order with them. */
  dispatch(stored: Stored<Exclude<Entry, EventEntry>>): number {
    const { entry, position } = stored
    this.#advance(stored)
    switch (entry.kind) {
      case 'membership':
        for (const session of this.#reached(entry.member, position)) this.#dispatchMembership(session, { ...stored, entry })
        if ('user' in entry.member) this.peers.setMembership(entry.member.user, entry.room, entry.present)
        // It left while its request was on the way.
        if ('session' in entry.member && !this.#isConnected(entry.member.session)) this.#departures.add(entry.member.session)
        return 0
      case 'disconnect':
        for (const session of this.#reached(entry.member, position)) session.connection.close('disconnected')
        this.#depart(this.peers.end(entry.member, position))
        return 0
      case 'session-ended':
        this.#departures.delete(entry.session)
        // It came back just as its rooms were forgotten: it must start anew, not go on without them.
        for (const session of this.#reached(entry, position)) session.connection.close('transport')
        return 0
      case 'revocation':
        return this.#dispatchRevocation({ ...stored, entry })
      case 'revocation-lifted':
        this.#observer.revocationsInForce(this.revocations.size)
        return 0
      default:
        return entry satisfies never
    }
  }

  #advance(stored: Stored): void {
    // What was allowed until now does not hold for what comes now, however long ago somebody has looked.
    this.expire(stored.time)
    this.#position = stored.position
    this.revocations.follow(stored)
  }

  /** Takes the rooms from the head of the log. */
  #restate(session: Session, isNew = false): void {
    for (const room of session.rooms.keys()) this.presence.leaveRoom(session, room)
    const now = this.#now()
    const ofUser = this.#log.memberships({ user: session.identity.user })
    session.restate(ofUser, isNew ? noMemberships : this.#log.memberships({ session: session.id }), this.#log.head(), now)
    for (const room of session.rooms.keys()) this.presence.enterRoom(session, room)
    this.#schedule(session)
  }

  #dispatchMembership(session: Session, stored: Stored<MembershipEntry>): void {
    const change = session.apply(stored)
    if (stored.entry.authorized !== undefined) this.#schedule(session)
    if (change !== undefined) this.#follow(session, [change], stored.position)
  }

  #age(session: Session, time: number): void {
    if (this.#isOver(session, time)) {
      session.connection.close('expired')
      return
    }
    const { expiresAt } = session.identity
    if (expiresAt !== undefined && session.expiringAt !== undefined && session.expiringAt <= time) {
      session.expiringAt = undefined
      session.connection.notify({ event: 'sidecast:expiring', data: { expiresAt } })
    }
    const ended = session.endStays(time)
    this.#lapsed.push(...ended.map(({ room }) => ({ session, room })))
    this.#follow(session, ended, Math.max(this.#position, session.since))
    this.#schedule(session)
  }

  #isOver({ identity: { expiresAt } }: Session, time: number): boolean {
    return expiresAt !== undefined && expiresAt + this.#clockToleranceMs <= time
  }

  #schedule(session: Session): void {
    // What it was told last may have found its line broken.
    if (session.detached) return
    const { identity, expiringAt } = session
    const ends = identity.expiresAt === undefined ? undefined : identity.expiresAt + this.#clockToleranceMs
    const next = Math.min(...[ends, expiringAt, ...session.rightsEndAt()].filter((at) => at !== undefined))
    this.#lifetimes.set(session, next === Number.POSITIVE_INFINITY ? undefined : next)
  }

  #follow(session: Session, changes: readonly RoomChange[], position: number): void {
    for (const { room, entered } of changes) {
      if (entered) this.presence.enterRoom(session, room)
      else this.presence.leaveRoom(session, room)
    }
    // A session that is catching up is told its rooms at the end.
    if (session.live) for (const change of changes) session.connection.notify(toRoomNotice(change), position)
  }

  #dispatchRevocation(stored: Stored<RevocationEntry>): number {
    this.#observer.revoked()
    this.#observer.revocationsInForce(this.revocations.size)
    let ended = 0
    // Whatever they have read: who came after it was stored and before it was dispatched must not stay.
    for (const session of this.presence.nearRevocation(stored.entry.revocation)) {
      if (!session.isEndedBy(stored)) continue
      session.connection.close('revoked')
      ended++
    }
    const elsewhere = this.peers.endRevoked(stored)
    this.#depart(elsewhere)
    return ended + elsewhere.length
  }

  #isConnected(session: string): boolean {
    return this.presence.byId(session) !== undefined || this.peers.has(session)
  }

  #peersChanged(node: string, changes: readonly PresenceChange[]): void {
    // What that process has told before it knew of a revocation is over already.
    const current = changes.filter((change) => change.kind !== 'opened' || !this.revocations.ends(change.session))
    for (const change of current) if (change.kind === 'opened') this.#openedElsewhere(change.session)
    this.#depart(
      this.peers.apply(
        node,
        current.filter((change) => change.kind !== 'opened' || this.presence.byId(change.session.session) === undefined),
      ),
    )
  }

  /** One session never has two connections, wherever they are: the older one ends. */
  #openedElsewhere(theirs: PeerSession): void {
    this.#departures.delete(theirs.session)
    const own = this.presence.byId(theirs.session)
    if (own === undefined || !isNewer(theirs, own)) return
    // Theirs may be an attempt that the client has given up since, and then ours is the living one: it is let come back, which settles it.
    own.connection.close(theirs.connectedAt - own.connectedAt > belatedMs ? 'replaced' : 'transport')
    this.detach(own)
    this.#departures.delete(theirs.session)
  }

  /** Sessions that have left another process. */
  #depart(sessions: readonly string[]): void {
    for (const session of sessions) {
      if (!this.#isConnected(session) && this.#log.memberships({ session }).size > 0) this.#departures.add(session)
    }
  }

  /** The sessions of a member that have not taken in this position already. */
  #reached(member: Member, position: number): readonly Session[] {
    const sessions = 'user' in member ? [...this.presence.ofUser(member.user)] : [this.presence.byId(member.session)]
    return sessions.filter((session) => session !== undefined).filter((session) => position > session.since)
  }
}
