import { BridgeError } from '../errors.ts'
import { type Publisher, requireScope } from './access.ts'
import { Appends } from './appends.ts'
import { Delivery, type DeliveryOptions, type Ready } from './delivery.ts'
import { type Draft, toEventEntry } from './draft.ts'
import type { Entry, EventEntry, Member, RevocationEntry, Stored } from './entry.ts'
import type { Appended, EventLog } from './event-log.ts'
import type { Identity } from './identity.ts'
import { Inquiries } from './inquiries.ts'
import type { Instruction } from './instruction.ts'
import { MatchedCounts } from './matched-counts.ts'
import type { Peers } from './peers.ts'
import { Places } from './places.ts'
import { beyondReach, mayPublish, requireAllRooms, requireManagement, requireReach } from './reach.ts'
import { planResume, type ResumePlan } from './resume.ts'
import { type RevocationRequest, toRevocation } from './revocation-request.ts'
import { RoomRequests, type RoomRequestsOptions } from './room-requests.ts'
import { type Run, toRuns } from './run.ts'
import type { Session } from './session.ts'

/** What a publisher learns of one accepted event. `matched`: sessions that were connected and entitled when it was stored; null: nobody knows any more. */
export interface Published {
  readonly id: string
  readonly offset: string
  readonly duplicate: boolean
  readonly matched: number | null
}

/** What came of a revocation. `sessions`: how many it has ended. */
export interface Revoked {
  readonly id: string
  readonly offset: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
  readonly sessions: number
}

export interface HubOptions extends DeliveryOptions, RoomRequestsOptions {
  readonly newId: () => string
  /** How long a session that is gone keeps the rooms it asked for. */
  readonly retentionAgeMs: number
  /** Whether so much waits for slow clients that no more events should come in. Absent: never. */
  readonly overloaded?: () => boolean
  /** How long after it was issued a login token may expire: so long a revocation is kept that does not say until when, and for the tolerance of clocks. */
  readonly revocationAgeMs: number
}

/** What a sweep appends at a time: publishers take turns with it. */
const maxForgotten = 256
/** So many times, and the next sweep goes on: also when what was appended cannot be dispatched it ends. */
const maxTurns = 1024

/**
 * Where the rules meet: publishers append to the log, and what comes back from the log goes to the sessions.
 * Nothing reaches a session that was not read back from the log.
 */
export class Hub {
  readonly #options: HubOptions
  readonly #log: EventLog
  readonly #delivery: Delivery
  /** What stood in the log already when this hub began is not in it. */
  readonly #matched = new MatchedCounts()
  readonly #appends: Appends
  readonly inquiries: Inquiries
  readonly places: Places
  readonly roomRequests: RoomRequests

  constructor(options: HubOptions) {
    this.#options = options
    this.#log = options.log
    this.#appends = new Appends(options.log)
    this.#delivery = new Delivery(options)
    this.inquiries = new Inquiries(options.log, this.#delivery)
    this.places = new Places(this.#delivery)
    this.roomRequests = new RoomRequests(this.#appends, options)
    options.log.follow(
      (entries) => {
        for (const run of toRuns(entries)) this.#dispatch(run)
      },
      () => {
        this.#delivery.startOver()
        this.#matched.clear()
        this.#appends.dispatched(this.#log.head())
      },
    )
  }

  // Publishers

  /**
   * Stores events in one commit, in order. Per event: what was published, or why it was not (`id_reused`, `publish_forbidden`).
   * @throws BridgeError scope_missing, overloaded, log_unavailable: none was stored
   */
  async publish(publisher: Publisher, drafts: readonly Draft[]): Promise<readonly (Published | BridgeError)[]> {
    requireScope(publisher, 'publish')
    this.#requireCapacity()
    const entries = drafts.map((draft) => (mayPublish(publisher, draft) ? toEventEntry(draft, this.#options.newId) : beyondReach(publisher, draft)))
    const appended = (await this.#publish(entries.filter((entry): entry is EventEntry => !(entry instanceof BridgeError)))).values()
    return entries.map((entry) => (entry instanceof BridgeError ? entry : this.#toPublished(entry, appended.next().value)))
  }

  /**
   * Does several things in one commit, in order: all of them, or none. Per instruction: what came of it, or why nothing did (`id_reused`).
   * @throws BridgeError scope_missing, publish_forbidden, overloaded: nothing was done. log_unavailable: nothing, or all of it; under the name of the same
   * `errand` it is done once, see `EventLog.append`
   */
  async carryOut(
    publisher: Publisher,
    instructions: readonly Instruction[],
    errand?: symbol,
  ): Promise<readonly (Published | { readonly offset: string } | BridgeError)[]> {
    requireScope(publisher, 'publish')
    if (instructions.some(({ kind }) => kind === 'disconnect' || kind === 'revoke')) requireScope(publisher, 'admin')
    for (const instruction of instructions) requireReach(publisher, instruction)
    // What ends sessions makes room, so it is taken.
    if (instructions.some(({ kind }) => kind === 'event')) this.#requireCapacity()
    const entries = instructions.map((instruction) => this.#toInstructed(instruction))
    const appended = await this.#publish(entries, errand)
    return entries.map((entry, index) => {
      if (entry.kind === 'event') return this.#toPublished(entry, appended[index])
      return { offset: this.#log.offsetOf(appended[index]?.position ?? this.#log.head()) }
    })
  }

  /** Puts a user into a room or takes it out: all sessions, now and later. Resolves when it is in force; returns its offset. */
  async setMembership(publisher: Publisher, user: string, room: string, present: boolean): Promise<string> {
    requireScope(publisher, 'publish')
    requireManagement(publisher, room)
    return this.#appends.control({ kind: 'membership', room, member: { user }, present })
  }

  /** Ends a session, or all sessions of a user. They do not come back by themselves. Returns the offset. */
  async disconnect(publisher: Publisher, member: Member): Promise<string> {
    requireScope(publisher, 'admin')
    requireAllRooms(publisher)
    return this.#appends.control({ kind: 'disconnect', member })
  }

  /** From here on the tokens are worth nothing: sessions that have one end, and nothing that is stored later reaches them. @throws BridgeError invalid_revocation */
  async revoke(publisher: Publisher, request: RevocationRequest): Promise<Revoked> {
    requireScope(publisher, 'admin')
    requireAllRooms(publisher)
    const entry = this.#toRevocation(request)
    const [{ position } = { position: this.#log.head() }] = await this.#appends.append([entry])
    const { id, expiresAt } = this.#delivery.revocations.get(entry.revocation.id) ?? entry.revocation
    return { id, offset: this.#log.offsetOf(position), expiresAt, sessions: this.#matched.get(position) ?? 0 }
  }

  /** The tokens are good again, as far as they are in themselves. Returns the offset. @throws BridgeError not_found */
  async liftRevocation(publisher: Publisher, id: string): Promise<string> {
    requireScope(publisher, 'admin')
    requireAllRooms(publisher)
    if (this.#delivery.revocations.get(id) === undefined) throw new BridgeError('not_found', `there is no revocation ${id}`)
    return this.#appends.control({ kind: 'revocation-lifted', id })
  }

  /** A position as clients see it. */
  offsetOf(position: number): string {
    return this.#log.offsetOf(position)
  }

  // Sessions

  /** To be asked in the turn in which the identity is taken over: by a session that is attached, or by one that shows a new token. @throws BridgeError token_revoked */
  requireUnrevoked(identity: Identity): void {
    const revocation = this.#delivery.revocations.find(identity)
    if (revocation !== undefined) throw new BridgeError('token_revoked', `the revocation ${revocation.id} concerns the token`)
  }

  /** Takes a session in: see `Delivery.attach`. */
  attach(session: Session, ready: Ready): void {
    this.#delivery.attach(session, ready)
  }

  detach(session: Session): void {
    this.#delivery.detach(session)
  }

  /** The sessions that are connected to this process. */
  sessions(): ReadonlySet<Session> {
    return this.#delivery.presence.all()
  }

  /** Who is connected to other processes. */
  get peers(): Peers {
    return this.#delivery.peers
  }

  /** Whether `planResume` knows all that it has to know about an offset: see `EventLog.catchUp`. */
  catchUp(offset: string): Promise<boolean> {
    return this.#log.catchUp(offset)
  }

  /** Whether a session can go on after `offset`. To be asked just before the client is told so. */
  planResume(user: string, session: string | undefined, offset: string): ResumePlan {
    return planResume(this.#log, user, session, offset)
  }

  /**
   * Goes on with another token of the same user: rooms that it does not open are left at once, rooms that it names are joined. Whatever is thrown, nothing has changed.
   * @throws BridgeError token_claims: it is of another user; token_revoked
   */
  refresh(session: Session, identity: Identity): void {
    if (identity.user !== session.identity.user)
      throw new BridgeError('token_claims', `the token is of ${identity.user}, the session of ${session.identity.user}: another user connects anew`)
    this.requireUnrevoked(identity)
    this.#delivery.refresh(session, identity)
  }

  /** To be called several times a second: tells whose token ends soon, ends the sessions whose token has ended and the stays that were allowed until now. */
  expire(): void {
    this.#delivery.expire(this.#options.now())
    for (const { session, room } of this.#delivery.takeLapsed()) {
      this.roomRequests.forgetLapsed(session, room).catch((error: unknown) => {
        if (!(error instanceof BridgeError && error.code === 'log_unavailable')) this.#options.observer.failed(error)
      })
    }
  }

  /** Forgets the rooms of sessions that have been gone for longer than a resume can reach back, and the revocations that have expired. */
  async sweep(): Promise<void> {
    for (let turn = 0; turn < maxTurns; turn++) {
      const now = this.#options.now()
      const over = this.#delivery.departedBefore(now - this.#options.retentionAgeMs, maxForgotten)
      const expired = this.#delivery.revocations.expired(maxForgotten - over.length)
      await this.#appends.append([
        ...over.map((session) => ({ kind: 'session-ended', session }) as const),
        ...expired.map((id) => ({ kind: 'revocation-lifted', id, expiredBy: now }) as const),
      ])
      if (over.length + expired.length < maxForgotten) return
    }
  }

  // The log

  async #publish(entries: readonly Entry[], errand?: symbol): Promise<readonly Appended[]> {
    const appended = await this.#appends.append(entries, errand)
    let stored = 0
    let duplicates = 0
    for (const [index, { outcome }] of appended.entries()) {
      if (entries[index]?.kind !== 'event') continue
      if (outcome === 'stored') stored++
      else if (outcome === 'duplicate') duplicates++
    }
    this.#options.observer.eventsPublished(stored, duplicates)
    return appended
  }

  /** More events would only make more wait for those who are behind. @throws BridgeError overloaded */
  #requireCapacity(): void {
    if (this.#options.overloaded?.() === true)
      throw new BridgeError('overloaded', 'too much waits in memory for slow clients (SIDECAST_MAX_BUFFERED)')
  }

  #toRevocation(request: RevocationRequest): RevocationEntry {
    const { presence, peers } = this.#delivery
    const here = request.user === undefined ? [] : [...presence.ofUser(request.user)].map(({ identity }) => identity)
    const elsewhere = request.user === undefined ? [] : peers.ofUser(request.user).map(({ token }) => token)
    const issued = [...here, ...elsewhere].flatMap(({ iat }) => iat ?? [])
    const { revocationAgeMs: ageMs, clockToleranceMs, now } = this.#options
    return { kind: 'revocation', revocation: toRevocation(request, { now: now(), clockToleranceMs, ageMs, issued }) }
  }

  #toInstructed(instruction: Instruction): Exclude<Entry, { readonly kind: 'session-ended' }> {
    switch (instruction.kind) {
      case 'event':
        return toEventEntry(instruction.draft, this.#options.newId)
      case 'membership':
        return { kind: 'membership', room: instruction.room, member: { user: instruction.user }, present: instruction.present }
      case 'disconnect':
        return instruction
      case 'revoke':
        return this.#toRevocation(instruction.request)
      default:
        return instruction satisfies never
    }
  }

  #toPublished(entry: EventEntry, appended: Appended | undefined): Published | BridgeError {
    if (appended === undefined) return new BridgeError('internal')
    if (appended.outcome === 'conflict') {
      const cure = 'use a new id, or repeat exactly the same event'
      return new BridgeError('id_reused', `the id ${entry.id} was used before, within the dedupe window, for an event with other content: ${cure}`)
    }
    const { outcome, position } = appended
    // Who would match today is another question: a count that is not known is not made up.
    return { id: entry.id, offset: this.#log.offsetOf(position), duplicate: outcome === 'duplicate', matched: this.#matched.get(position) ?? null }
  }

  #dispatch(next: Stored<Exclude<Entry, EventEntry>> | Run): void {
    const entries = 'entry' in next ? [next] : next
    try {
      const matched = 'entry' in next ? [this.#delivery.dispatch(next)] : this.#delivery.dispatchEvents(next)
      for (const [index, { entry, position }] of entries.entries())
        if (entry.kind === 'event' || entry.kind === 'revocation') this.#matched.add(position, matched[index] ?? 0)
    } catch (error) {
      // Whatever it was, the entries behind it must not suffer.
      this.#options.observer.failed(error)
    }
    const last = entries.at(-1)
    if (last !== undefined) this.#appends.dispatched(last.position)
  }
}
