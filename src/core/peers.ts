import type { Member, RevocationEntry, Stored } from './entry.ts'
import type { SessionInfo } from './presence.ts'
import { endsSession, type Revocation, type TokenMarks, tokenIds } from './revocation.ts'
import { SetIndex } from './set-index.ts'
import { StreamIndex } from './stream-index.ts'
import type { Except, Target } from './target.ts'

/** A session at another process, as far as the others have to know it. */
export interface PeerSession extends SessionInfo {
  readonly user: string
  /** Of its token: whether a revocation ends it. */
  readonly token: TokenMarks
  /** The position of the log at which it connected, or has shown its token. */
  readonly attachedAt: number
}

/**
 * What one process tells the others. `all-begin` and `all-end` enclose all of its sessions, told anew: what was not named in between is no more.
 */
export type PresenceChange =
  | { readonly kind: 'opened'; readonly session: PeerSession }
  | { readonly kind: 'rooms'; readonly session: string; readonly entered: readonly string[]; readonly left: readonly string[] }
  | { readonly kind: 'details'; readonly session: string; readonly transport: string; readonly expiresAt: number | null }
  | { readonly kind: 'closed'; readonly session: string }
  | { readonly kind: 'all-begin' }
  | { readonly kind: 'all-end' }

/** What the others tell. */
export interface PeerListener {
  /** In the order in which that process has told them. */
  changed(node: string, changes: readonly PresenceChange[]): void
  /** The process is gone, with all its sessions. */
  gone(node: string): void
  /** Somebody is new and knows nothing. */
  asked(): void
  /** About once a second: what changes unnoticed is to be told. */
  due(): void
}

/** The line to the processes that serve the same log. An edge implements it. Nothing here may throw. */
export interface PeerLink {
  /** Tells the others, in order; does not wait for them. Those who miss something are told all anew: see `PeerListener.asked`. */
  announce(changes: readonly PresenceChange[]): void
  follow(listener: PeerListener): void
}

interface PeerRecord {
  readonly node: string
  session: PeerSession
  readonly rooms: Set<string>
  /** Named since the last `all-begin` of its node. */
  confirmed: boolean
}

/** Who is connected at other processes, by the same streams as here: no question has to be asked of anybody. */
export class Peers {
  readonly #index = new StreamIndex<PeerRecord>()
  readonly #byTokenId = new SetIndex<string, PeerRecord>()
  readonly #byNode = new Map<string, Map<string, PeerRecord>>()

  get size(): number {
    return this.#index.all.size
  }

  has(session: string): boolean {
    return this.#index.sessions.of(session).size > 0
  }

  /** Of one node, or of all. */
  *sessions(node?: string): Iterable<PeerSession> {
    const records = node === undefined ? this.#index.all : (this.#byNode.get(node)?.values() ?? [])
    for (const record of records) yield toSession(record)
  }

  /** What a process has told, for somebody who comes in the middle of it: all that it has not named anew yet stands before `all-begin`. */
  *toldBy(node: string): Iterable<PresenceChange> {
    const records = [...(this.#byNode.get(node)?.values() ?? [])]
    for (const record of records) if (!record.confirmed) yield { kind: 'opened', session: toSession(record) }
    yield { kind: 'all-begin' }
    for (const record of records) if (record.confirmed) yield { kind: 'opened', session: toSession(record) }
  }

  get nodes(): readonly string[] {
    return [...this.#byNode.keys()]
  }

  ofUser(user: string): readonly PeerSession[] {
    return [...this.#index.users.of(user)].map(toSession)
  }

  inRoom(room: string): readonly { readonly user: string }[] {
    return [...this.#index.rooms.of(room)].map(({ session }) => session)
  }

  countMatches(to: Target, except: Except): number {
    let count = 0
    this.#index.forEachMatch(to, except, () => count++)
    return count
  }

  forEachUser(to: Target, except: Except, visit: (user: string) => void): void {
    this.#index.forEachMatch(to, except, ({ session }) => visit(session.user))
  }

  /** Returns the ids of sessions that are connected nowhere else any more. */
  apply(node: string, changes: readonly PresenceChange[]): readonly string[] {
    const closed: string[] = []
    const records = this.#byNode.get(node) ?? new Map<string, PeerRecord>()
    this.#byNode.set(node, records)
    for (const change of changes) this.#applyOne(node, records, change, closed)
    return closed.filter((session) => !this.has(session))
  }

  /** Forgets a process; returns the ids of its sessions. */
  forget(node: string): readonly string[] {
    const records = [...(this.#byNode.get(node)?.values() ?? [])]
    this.#byNode.delete(node)
    return this.#end(records)
  }

  /** The backend's word on a room, which holds for every session of the user; its process will say the same a little later. */
  setMembership(user: string, room: string, present: boolean): void {
    for (const record of this.#index.users.of(user)) {
      if (present) this.#enter(record, room)
      else this.#leave(record, room)
    }
  }

  /** Sessions that were there before a position have been ended; their processes will say the same a little later. Returns their ids. */
  end(member: Member, position: number): readonly string[] {
    const named = 'user' in member ? this.#index.users.of(member.user) : this.#index.sessions.of(member.session)
    const ended = [...named].filter(({ session }) => session.attachedAt < position)
    return this.#end(ended)
  }

  /** Those that a revocation ends, likewise. */
  endRevoked({ position, time, entry: { revocation } }: Stored<RevocationEntry>): readonly string[] {
    const isEnded = ({ session: { user, token, attachedAt } }: PeerRecord): boolean =>
      endsSession({ ...token, user }, attachedAt, { position, time, revocation })
    return this.#end([...this.#nearRevocation(revocation)].filter(isEnded))
  }

  /** A session is connected here now: what is known of it elsewhere is older. */
  supersede(session: string): void {
    for (const record of [...this.#index.sessions.of(session)]) this.#remove(record)
  }

  #nearRevocation({ jti, sid, user }: Revocation): ReadonlySet<PeerRecord> {
    const [key] = tokenIds({ jti, sid })
    if (key !== undefined) return this.#byTokenId.of(key)
    return user === undefined ? this.#index.all : this.#index.users.of(user)
  }

  #end(records: readonly PeerRecord[]): readonly string[] {
    for (const record of records) this.#remove(record)
    return records.map(({ session }) => session.session)
  }

  #applyOne(node: string, records: Map<string, PeerRecord>, change: PresenceChange, closed: string[]): void {
    switch (change.kind) {
      case 'opened':
        this.#open(node, change.session)
        return
      case 'rooms': {
        const record = records.get(change.session)
        if (record === undefined) return
        for (const room of change.left) this.#leave(record, room)
        for (const room of change.entered) this.#enter(record, room)
        return
      }
      case 'details': {
        const record = records.get(change.session)
        if (record !== undefined) record.session = { ...record.session, transport: change.transport, expiresAt: change.expiresAt }
        return
      }
      case 'closed':
        this.#close(records.get(change.session), closed)
        return
      case 'all-begin':
        for (const record of records.values()) record.confirmed = false
        return
      case 'all-end':
        for (const record of [...records.values()]) if (!record.confirmed) this.#close(record, closed)
        return
      default:
        change satisfies never
    }
  }

  #open(node: string, session: PeerSession): void {
    for (const other of [...this.#index.sessions.of(session.session)]) {
      // Both of its processes know the same rule, so the older connection is about to be closed.
      if (other.node !== node && !isNewer(session, other.session)) return
      this.#remove(other)
    }
    // The rooms are kept once, in the set.
    const record: PeerRecord = { node, session: { ...session, rooms: [] }, rooms: new Set(session.rooms), confirmed: true }
    this.#byNode.get(node)?.set(session.session, record)
    this.#index.put(record, placeOf(record))
    for (const key of tokenIds(session.token)) this.#byTokenId.put(key, record)
  }

  #enter(record: PeerRecord, room: string): void {
    record.rooms.add(room)
    this.#index.rooms.put(room, record)
  }

  #leave(record: PeerRecord, room: string): void {
    record.rooms.delete(room)
    this.#index.rooms.drop(room, record)
  }

  #close(record: PeerRecord | undefined, closed: string[]): void {
    if (record === undefined) return
    this.#remove(record)
    closed.push(record.session.session)
  }

  #remove(record: PeerRecord): void {
    this.#index.drop(record, placeOf(record))
    for (const key of tokenIds(record.session.token)) this.#byTokenId.drop(key, record)
    this.#byNode.get(record.node)?.delete(record.session.session)
  }
}

/** Whether the first of two connections of one session is the later one, by the clocks of their processes. */
export function isNewer(one: Pick<PeerSession, 'connectedAt'>, other: Pick<PeerSession, 'connectedAt'>): boolean {
  return one.connectedAt >= other.connectedAt
}

function toSession({ session, rooms }: PeerRecord): PeerSession {
  return { ...session, rooms: [...rooms] }
}

function placeOf({ session: { user, session }, rooms }: PeerRecord) {
  return { user, session, rooms }
}
