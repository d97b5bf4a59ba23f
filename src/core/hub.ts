import { hash } from 'node:crypto'
import { BridgeError } from '../errors.ts'
import { mayJoin, type Publisher, requireScope } from './access.ts'
import { Delivery, type DeliveryOptions } from './delivery.ts'
import type { Draft } from './draft.ts'
import type { Entry, EventEntry, Member, Stored } from './entry.ts'
import type { Appended, EventLog } from './event-log.ts'
import type { Instruction } from './instruction.ts'
import type { Peers } from './peers.ts'
import { type SessionInfo, toSessionInfo } from './presence.ts'
import { planResume, type ResumePlan } from './resume.ts'
import type { Session } from './session.ts'
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

export interface HubOptions extends DeliveryOptions {
  readonly newId: () => string
  /** How long a session that is gone keeps the rooms it asked for. */
  readonly retentionAgeMs: number
  readonly maxRoomsPerSession: number
}

/** How many dispatched events remember how many sessions they matched, until their publisher has asked. */
const matchedMemory = 1 << 16

/**
 * Where the rules meet: publishers append to the log, and what comes back from the log goes to the sessions.
 * Nothing reaches a session that was not read back from the log.
 */
export class Hub {
  readonly #options: HubOptions
  readonly #log: EventLog
  readonly #delivery: Delivery
  /** By position. What stood in the log already when this hub began is not in it. */
  readonly #matched = new Map<number, number>()
  /** Its positions, in the order in which they are forgotten: the oldest is overwritten. */
  readonly #remembered = new Float64Array(matchedMemory)
  #counted = 0
  #dispatched: number
  #waiting: { readonly position: number; readonly resolve: () => void }[] = []

  constructor(options: HubOptions) {
    this.#options = options
    this.#log = options.log
    this.#dispatched = options.log.head()
    this.#delivery = new Delivery(options)
    options.log.follow(
      (entries) => {
        for (const entry of entries) this.#dispatch(entry)
      },
      () => {
        this.#delivery.startOver()
        this.#dispatched = this.#log.head()
        this.#wake()
      },
    )
  }

  // Publishers

  /**
   * Stores events in one commit, in order. Per event: what was published, or why it was not (`id_reused`).
   * @throws BridgeError scope_missing, log_unavailable: none was stored
   */
  async publish(publisher: Publisher, drafts: readonly Draft[]): Promise<readonly (Published | BridgeError)[]> {
    requireScope(publisher, 'publish')
    const entries = drafts.map((draft) => this.#toEntry(draft))
    const appended = await this.#publish(entries)
    return entries.map((entry, index) => this.#toPublished(entry, appended[index]))
  }

  /**
   * Does several things in one commit, in order: all of them, or none. Per instruction: what came of it, or why nothing did (`id_reused`).
   * @throws BridgeError scope_missing, log_unavailable: nothing was done
   */
  async carryOut(
    publisher: Publisher,
    instructions: readonly Instruction[],
  ): Promise<readonly (Published | { readonly offset: string } | BridgeError)[]> {
    requireScope(publisher, 'publish')
    if (instructions.some(({ kind }) => kind === 'disconnect')) requireScope(publisher, 'admin')
    const entries = instructions.map((instruction) => this.#toInstructed(instruction))
    const appended = await this.#publish(entries)
    return entries.map((entry, index) => {
      if (entry.kind === 'event') return this.#toPublished(entry, appended[index])
      return { offset: this.#log.offsetOf(appended[index]?.position ?? this.#log.head()) }
    })
  }

  preview(publisher: Publisher, draft: Draft): Preview {
    requireScope(publisher, 'publish')
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
    const elsewhere = this.#delivery.peers
      .ofUser(user)
      .map(({ session, connectedAt, transport, rooms, expiresAt }) => ({ session, connectedAt, transport, rooms, expiresAt }))
    return [...[...this.#delivery.presence.ofUser(user)].map(toSessionInfo), ...elsewhere]
  }

  usersInRoom(publisher: Publisher, room: string): { readonly sessions: number; readonly users: readonly string[] } {
    requireScope(publisher, 'read')
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
    const position = after === undefined ? this.#log.first() - 1 : this.#log.positionOf(after)
    if (position === undefined) throw new BridgeError('gap')
    const reading = this.#log.read(position, [stream], limit)
    if (reading.gap) throw new BridgeError('gap')
    return { events: reading.entries.filter(isEvent), next: this.#log.offsetOf(reading.upTo) }
  }

  /** A position as clients see it. */
  offsetOf(position: number): string {
    return this.#log.offsetOf(position)
  }

  // Sessions

  /** Takes a session in, for what stands after `after` or from now on. */
  attach(session: Session, ready: { readonly after?: number; readonly reason?: string }): void {
    this.#delivery.attach(session, ready)
  }

  detach(session: Session): void {
    this.#delivery.detach(session)
  }

  /** How many sessions the user has, not counting `besides`. */
  countSessions(user: string, besides?: string): number {
    let count = 0
    for (const session of this.#delivery.presence.ofUser(user)) if (session.id !== besides) count++
    for (const { session } of this.#delivery.peers.ofUser(user)) if (session !== besides) count++
    return count
  }

  /** The sessions that are connected to this process. */
  sessions(): ReadonlySet<Session> {
    return this.#delivery.presence.all()
  }

  /** Who is connected to other processes. */
  get peers(): Peers {
    return this.#delivery.peers
  }

  /** Whether a session can go on after `offset`. To be asked just before the client is told so. */
  planResume(user: string, session: string | undefined, offset: string): ResumePlan {
    return planResume(this.#log, user, session, offset)
  }

  /** @throws BridgeError room_forbidden, room_limit, log_unavailable */
  join(session: Session, room: string): Promise<void> {
    return this.#inTurn(session, async () => {
      if (session.rooms.has(room)) return
      if (!mayJoin(session.identity, room, session.stateOf(room).user)) throw new BridgeError('room_forbidden')
      if (session.rooms.size >= this.#options.maxRoomsPerSession) throw new BridgeError('room_limit')
      await this.#control({ kind: 'membership', room, member: { session: session.id }, present: true })
      // A removal may have come first in the log.
      if (!session.rooms.has(room)) throw new BridgeError('room_forbidden')
    })
  }

  /** @throws BridgeError room_managed, log_unavailable */
  leave(session: Session, room: string): Promise<void> {
    return this.#inTurn(session, async () => {
      const by = session.rooms.get(room)
      if (by === undefined) return
      if (by !== 'backend') await this.#control({ kind: 'membership', room, member: { session: session.id }, present: false })
      // Also when the backend's word came first in the log.
      if (session.rooms.get(room) === 'backend') throw new BridgeError('room_managed')
    })
  }

  /** One request of a session after the other: whoever leaves a room and asks for it again, without waiting, means the last. */
  #inTurn(session: Session, request: () => Promise<void>): Promise<void> {
    const turn = session.requests.then(request)
    session.requests = turn.catch(() => {})
    return turn
  }

  /** Forgets the rooms of sessions that have been gone for longer than a resume can reach back. */
  async sweep(): Promise<void> {
    const over = this.#delivery.departedBefore(this.#options.now() - this.#options.retentionAgeMs)
    await this.#append(over.map((session) => ({ kind: 'session-ended', session })))
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

  async #publish(entries: readonly Entry[]): Promise<readonly Appended[]> {
    const appended = await this.#append(entries)
    const events = appended.filter((_, index) => entries[index]?.kind === 'event')
    const count = (wanted: Appended['outcome']): number => events.filter(({ outcome }) => outcome === wanted).length
    this.#options.observer.eventsPublished(count('stored'), count('duplicate'))
    return appended
  }

  /** Appends what is not an event; it is in force when this resolves. */
  async #control(entry: Exclude<Entry, EventEntry>): Promise<string> {
    const [appended] = await this.#append([entry])
    return this.#log.offsetOf(appended?.position ?? this.#log.head())
  }

  #toInstructed(instruction: Instruction): Exclude<Entry, { readonly kind: 'session-ended' }> {
    switch (instruction.kind) {
      case 'event':
        return this.#toEntry(instruction.draft)
      case 'membership':
        return { kind: 'membership', room: instruction.room, member: { user: instruction.user }, present: instruction.present }
      case 'disconnect':
        return instruction
      default:
        return instruction satisfies never
    }
  }

  #toEntry({ id, event, data, to, except, volatile }: Draft): EventEntry {
    const entry = { kind: 'event', event, data, to, except, volatile } as const
    if (id === undefined) return { ...entry, id: this.#options.newId() }
    return { ...entry, id, digest: hash('sha256', JSON.stringify([event, data, to, except, volatile]), 'base64url') }
  }

  #toPublished(entry: EventEntry, appended: Appended | undefined): Published | BridgeError {
    if (appended === undefined) return new BridgeError('internal')
    if (appended.outcome === 'conflict') {
      const cure = 'use a new id, or repeat exactly the same event'
      return new BridgeError('id_reused', `the id ${entry.id} was used before, within the dedupe window, for an event with other content: ${cure}`)
    }
    const duplicate = appended.outcome === 'duplicate'
    return { id: entry.id, offset: this.#log.offsetOf(appended.position), duplicate, matched: this.#matchedAt(appended.position, entry) }
  }

  /** What was counted when it was dispatched; for a duplicate of long ago, who would match today. */
  #matchedAt(position: number, { to, except }: EventEntry): number {
    const counted = this.#matched.get(position)
    if (counted !== undefined) return counted
    let matched = this.#delivery.peers.countMatches(to, except)
    this.#delivery.presence.forEachMatch(to, except, () => matched++)
    return matched
  }

  #dispatch(stored: Stored): void {
    try {
      const matched = this.#delivery.dispatch(stored)
      if (stored.entry.kind === 'event') this.#remember(stored.position, matched)
    } catch (error) {
      // Whatever it was, the entries behind it must not suffer.
      this.#options.observer.failed(error)
    }
    this.#dispatched = stored.position
    this.#wake()
  }

  #remember(position: number, matched: number): void {
    const slot = this.#counted++ % matchedMemory
    this.#matched.delete(this.#remembered[slot] ?? 0)
    this.#remembered[slot] = position
    this.#matched.set(position, matched)
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
