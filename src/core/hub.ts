import { hash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { BridgeError } from '../errors.ts'
import { mayJoin, type Publisher, requireScope } from './access.ts'
import type { Draft } from './draft.ts'
import type { Entry, EventEntry, Member, MembershipEntry, Stored } from './entry.ts'
import type { Appended, EventLog } from './event-log.ts'
import type { Observer } from './observer.ts'
import { formatOffset } from './offset.ts'
import { Presence, type SessionInfo, toSessionInfo } from './presence.ts'
import { planResume, type ResumePlan, readMissed } from './resume.ts'
import type { RoomChange, Session } from './session.ts'
import type { Stream } from './target.ts'

/** What a publisher learns of one accepted event. `matched`: sessions that were connected and entitled when it was stored. */
export interface Published {
  readonly id: string
  readonly offset: string
  readonly duplicate: boolean
  readonly matched: number
}

/** Whom an event would reach now. */
export interface Preview {
  readonly matched: number
  readonly users: number
  readonly sessions: number
}

export interface HubOptions {
  readonly log: EventLog
  readonly observer: Observer
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly newId: () => string
  /** How long a session that is gone keeps the rooms it asked for. */
  readonly retentionAgeMs: number
  readonly maxRoomsPerSession: number
}

/** How many dispatched positions remember how many sessions they matched, until their publisher has asked. */
const matchedMemory = 1 << 16

/** Entries that a resume reads in one turn. */
const resumeChunk = 100

/**
 * Where the rules meet: publishers append to the log, and what comes back from the log goes to the sessions.
 * Nothing reaches a session that was not read back from the log.
 */
export class Hub {
  readonly #options: HubOptions
  readonly #log: EventLog
  readonly #presence = new Presence()
  /** Sessions that are gone but may resume, with their own memberships; by when they left. */
  readonly #departed = new Map<string, number>()
  readonly #matched = new Int32Array(matchedMemory)
  /** What stood in the log already when this hub began: it did not count who matched. */
  readonly #before: number
  #dispatched: number
  #waiting: { readonly position: number; readonly resolve: () => void }[] = []

  constructor(options: HubOptions) {
    this.#options = options
    this.#log = options.log
    this.#before = options.log.head()
    this.#dispatched = this.#before
    // Nobody is connected yet, so whoever had rooms of its own has left.
    for (const session of options.log.sessionsWithMemberships()) this.#departed.set(session, options.now())
    options.log.follow((entries) => {
      for (const entry of entries) this.#dispatch(entry)
    })
  }

  // Publishers

  /**
   * Stores events in one commit, in order. Per event: what was published, or why it was not (`id_reused`).
   * @throws BridgeError scope_missing, log_unavailable: none was stored
   */
  async publish(publisher: Publisher, drafts: readonly Draft[]): Promise<readonly (Published | BridgeError)[]> {
    requireScope(publisher, 'publish')
    const entries = drafts.map((draft) => this.#toEntry(draft))
    const appended = await this.#append(entries)
    const results = entries.map((entry, index) => this.#toPublished(entry, appended[index]))
    const duplicates = appended.filter(({ outcome }) => outcome === 'duplicate').length
    this.#options.observer.eventsPublished(appended.filter(({ outcome }) => outcome === 'stored').length, duplicates)
    return results
  }

  preview(publisher: Publisher, draft: Draft): Preview {
    requireScope(publisher, 'publish')
    const users = new Set<string>()
    let sessions = 0
    this.#presence.forEachMatch(draft.to, draft.except, (session) => {
      users.add(session.identity.user)
      sessions++
    })
    return { matched: sessions, users: users.size, sessions }
  }

  /** Puts a user into a room or takes it out: all sessions, now and later. Resolves when it is in force; returns its offset. */
  async setMembership(publisher: Publisher, user: string, room: string, present: boolean): Promise<string> {
    requireScope(publisher, 'publish')
    return this.#control({ kind: 'membership', room, member: { user }, present })
  }

  /** Ends a session, or all sessions of a user. They do not come back by themselves. Returns the offset. */
  async disconnect(publisher: Publisher, member: Member): Promise<string> {
    requireScope(publisher, 'admin')
    return this.#control({ kind: 'disconnect', member })
  }

  sessionsOfUser(publisher: Publisher, user: string): readonly SessionInfo[] {
    requireScope(publisher, 'read')
    return [...this.#presence.ofUser(user)].map(toSessionInfo)
  }

  usersInRoom(publisher: Publisher, room: string): { readonly sessions: number; readonly users: readonly string[] } {
    requireScope(publisher, 'read')
    const sessions = this.#presence.inRoom(room)
    return { sessions: sessions.size, users: [...new Set([...sessions].map((session) => session.identity.user))] }
  }

  /**
   * What is kept of one stream, after a position (absent: from the oldest kept).
   * @throws BridgeError gap
   */
  history(
    publisher: Publisher,
    stream: Stream,
    after: number | undefined,
    limit: number,
  ): { readonly events: readonly Stored<EventEntry>[]; readonly upTo: number; readonly more: boolean } {
    requireScope(publisher, 'read')
    const reading = this.#log.read(after ?? this.#log.first() - 1, [stream], limit)
    if (reading.gap) throw new BridgeError('gap')
    return { events: reading.entries.filter(isEvent), upTo: reading.upTo, more: reading.more }
  }

  // Sessions

  /** How many sessions the user has, not counting `besides`. */
  countSessions(user: string, besides?: string): number {
    let count = 0
    for (const session of this.#presence.ofUser(user)) if (session.id !== besides) count++
    return count
  }

  sessions(): ReadonlySet<Session> {
    return this.#presence.all()
  }

  /** Whether a session can go on after `offset`. To be asked just before the client is told so. */
  planResume(user: string, session: string | undefined, offset: string): ResumePlan {
    return planResume(this.#log, user, session, offset)
  }

  /**
   * Takes a session in: it gets everything after `after`, then `sidecast:ready`, then what is dispatched; with nothing between and nothing twice.
   * Without `after` it starts at the head of the log.
   */
  attach(session: Session, ready: { readonly after?: number; readonly reason?: string }): void {
    // One session never has two connections: a half-open predecessor would take events that this one has to get.
    const predecessor = this.#presence.byId(session.id)
    if (predecessor !== undefined) {
      predecessor.connection.close('replaced')
      this.detach(predecessor)
    }
    this.#departed.delete(session.id)
    this.#restate(session)
    this.#presence.add(session)
    this.#options.observer.sessionOpened()
    if (ready.after === undefined)
      this.#makeLive(session, this.#log.head(), { recovered: false, ...(ready.reason === undefined ? {} : { reason: ready.reason }) })
    else {
      this.#catchUp(session, ready.after).catch((error: unknown) => {
        this.#options.observer.failed(error)
        session.connection.close('transport')
      })
    }
  }

  detach(session: Session): void {
    if (session.detached) return
    session.detached = true
    this.#presence.remove(session)
    if (session.hasOwnMemberships()) this.#departed.set(session.id, this.#options.now())
  }

  /** @throws BridgeError room_forbidden, room_limit, log_unavailable */
  async join(session: Session, room: string): Promise<void> {
    if (session.rooms.has(room)) return
    if (!mayJoin(session.identity, room, session.stateOf(room).user)) throw new BridgeError('room_forbidden')
    if (session.rooms.size >= this.#options.maxRoomsPerSession) throw new BridgeError('room_limit')
    await this.#control({ kind: 'membership', room, member: { session: session.id }, present: true })
    // A removal may have come first in the log.
    if (!session.rooms.has(room)) throw new BridgeError('room_forbidden')
  }

  /** @throws BridgeError room_managed, log_unavailable */
  async leave(session: Session, room: string): Promise<void> {
    const by = session.rooms.get(room)
    if (by === undefined) return
    if (by === 'backend') throw new BridgeError('room_managed')
    await this.#control({ kind: 'membership', room, member: { session: session.id }, present: false })
  }

  /** Forgets the rooms of sessions that have been gone for longer than a resume can reach back. */
  async sweep(): Promise<void> {
    const before = this.#options.now() - this.#options.retentionAgeMs
    const over = [...this.#departed].filter(([, departedAt]) => departedAt < before).map(([session]) => session)
    if (over.length === 0) return
    await this.#append(over.map((session) => ({ kind: 'session-ended', session })))
    for (const session of over) this.#departed.delete(session)
  }

  async #catchUp(session: Session, after: number): Promise<void> {
    let position = after
    let resumed = 0
    while (!session.detached) {
      // In one turn: the rooms, what is read, and going live are of one state of the log.
      this.#restate(session)
      const missed = readMissed(this.#log, session, position, resumeChunk)
      // Trimmed while the client was slow: it comes back and is told.
      if (missed.gap) return session.connection.close('transport')
      position = missed.upTo
      let congestion: Promise<void> | undefined
      for (const event of missed.events) {
        session.connection.send(event)
        resumed++
        congestion = session.connection.congested()
        if (congestion === undefined) continue
        position = event.position
        break
      }
      if (congestion === undefined && !missed.more) {
        this.#options.observer.sessionResumed(resumed)
        return this.#makeLive(session, missed.upTo, { recovered: true })
      }
      await (congestion ?? setImmediate())
    }
  }

  #makeLive(session: Session, position: number, { recovered, reason }: { readonly recovered: boolean; readonly reason?: string }): void {
    session.since = position
    session.live = true
    const { user, expiresAt } = session.identity
    const data = {
      user,
      session: session.id,
      rooms: [...session.rooms.keys()],
      recovered,
      ...(reason === undefined ? {} : { reason }),
      expiresAt: expiresAt ?? null,
    }
    session.connection.notify({ event: 'sidecast:ready', data }, position)
  }

  /** Takes the rooms from the head of the log. */
  #restate(session: Session): void {
    for (const room of session.rooms.keys()) this.#presence.leaveRoom(session, room)
    session.restate(this.#log.memberships({ user: session.identity.user }), this.#log.memberships({ session: session.id }))
    for (const room of session.rooms.keys()) this.#presence.enterRoom(session, room)
  }

  // The log

  async #append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (entries.length === 0) return []
    const appended = await this.#log.append(entries)
    const last = appended.findLast(({ outcome }) => outcome === 'stored')
    if (last !== undefined && last.position > this.#dispatched) {
      await new Promise<void>((resolve) => this.#waiting.push({ position: last.position, resolve }))
    }
    return appended
  }

  /** Appends what is not an event; it is in force when this resolves. */
  async #control(entry: Exclude<Entry, EventEntry>): Promise<string> {
    const [appended] = await this.#append([entry])
    return formatOffset(this.#log.epoch, appended?.position ?? this.#log.head())
  }

  #toEntry({ id, event, data, to, except, volatile }: Draft): EventEntry {
    const entry = { kind: 'event', event, data, to, except, volatile } as const
    if (id === undefined) return { ...entry, id: this.#options.newId() }
    return { ...entry, id, digest: hash('sha256', JSON.stringify([event, data, to, except, volatile]), 'base64url') }
  }

  #toPublished(entry: EventEntry, appended: Appended | undefined): Published | BridgeError {
    if (appended === undefined) return new BridgeError('internal')
    if (appended.outcome === 'conflict') return new BridgeError('id_reused', `the id ${entry.id} stands at another event`)
    const duplicate = appended.outcome === 'duplicate'
    return { id: entry.id, offset: formatOffset(this.#log.epoch, appended.position), duplicate, matched: this.#matchedAt(appended.position, entry) }
  }

  /** What was counted when it was dispatched; for a duplicate of long ago, who would match today. */
  #matchedAt(position: number, { to, except }: EventEntry): number {
    if (position > this.#dispatched - matchedMemory && position > this.#before) return this.#matched[position % matchedMemory] ?? 0
    let matched = 0
    this.#presence.forEachMatch(to, except, () => matched++)
    return matched
  }

  #dispatch(stored: Stored): void {
    const { entry, position } = stored
    switch (entry.kind) {
      case 'event':
        this.#matched[position % matchedMemory] = this.#dispatchEvent({ ...stored, entry })
        break
      case 'membership':
        for (const session of this.#reached(entry.member, position)) this.#dispatchMembership(session, { ...stored, entry })
        break
      case 'disconnect':
        for (const session of this.#reached(entry.member, position)) session.connection.close('disconnected')
        break
      case 'session-ended':
        // It came back just as its rooms were forgotten: it must start anew, not go on without them.
        for (const session of this.#reached(entry, position)) session.connection.close('transport')
        break
      default:
        entry satisfies never
    }
    this.#dispatched = position
    this.#wake()
  }

  #dispatchEvent(stored: Stored<EventEntry>): number {
    let matched = 0
    this.#presence.forEachMatch(stored.entry.to, stored.entry.except, (session) => {
      if (session.live && stored.position <= session.since) return
      matched++
      if (session.live) session.connection.send(stored)
    })
    this.#options.observer.eventDispatched(matched)
    return matched
  }

  #dispatchMembership(session: Session, stored: Stored<MembershipEntry>): void {
    const change = session.apply(stored)
    if (change === undefined) return
    if (change.entered) this.#presence.enterRoom(session, change.room)
    else this.#presence.leaveRoom(session, change.room)
    // A session that is catching up is told its rooms at the end.
    if (session.live) session.connection.notify(toNotice(change), stored.position)
  }

  /** The sessions of a member that have not taken in this position already. */
  #reached(member: Member, position: number): readonly Session[] {
    const sessions = 'user' in member ? [...this.#presence.ofUser(member.user)] : [this.#presence.byId(member.session)]
    return sessions.filter((session) => session !== undefined).filter((session) => !session.live || position > session.since)
  }

  #wake(): void {
    if (this.#waiting.length === 0) return
    const due = this.#waiting.filter(({ position }) => position <= this.#dispatched)
    this.#waiting = this.#waiting.filter(({ position }) => position > this.#dispatched)
    for (const { resolve } of due) resolve()
  }
}

function isEvent(stored: Stored): stored is Stored<EventEntry> {
  return stored.entry.kind === 'event'
}

function toNotice({ room, entered, by }: RoomChange) {
  return { event: entered ? 'sidecast:joined' : 'sidecast:left', data: { room, by } } as const
}
