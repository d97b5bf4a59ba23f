import type { RevocationEntry, Stored } from './entry.ts'
import type { EventLog } from './event-log.ts'
import type { Identity } from './identity.ts'
import type { PeerSession } from './peers.ts'
import { endsSession, isRevoked, lifts, type MarkedToken, type Revocation, tokenIds } from './revocation.ts'

/** The revocations in force. Which one concerns a token is found by what the token says, however many there are. */
export class Revocations {
  readonly #log: EventLog
  readonly #now: () => number
  /** In the order of the log. */
  readonly #byId = new Map<string, Stored<RevocationEntry>>()
  /** By the most telling field that each has; ids are those of tokens and logins, so few have the same. */
  readonly #byKey = new Map<string, Map<string, Revocation>>()
  /** All up to this position are in the index. */
  #position = 0

  constructor(log: EventLog, now: () => number) {
    this.#log = log
    this.#now = now
    this.reload()
  }

  /** Takes everything from the log anew: what was known is not what it says now. */
  reload(): void {
    this.#byId.clear()
    this.#byKey.clear()
    this.#position = this.#log.head()
    for (const stored of this.#log.revocations()) this.#put(stored)
  }

  get size(): number {
    return this.#byId.size
  }

  get(id: string): Revocation | undefined {
    return this.#byId.get(id)?.entry.revocation
  }

  /** To be called with every entry, in order. */
  follow({ position, time, entry }: Stored): void {
    this.#position = position
    if (entry.kind === 'revocation') this.#put({ position, time, entry })
    else if (entry.kind === 'revocation-lifted' && lifts(entry, this.get(entry.id))) this.#drop(entry.id)
  }

  /** One that refuses the token now. */
  find(identity: Identity): Revocation | undefined {
    const now = this.#now()
    const refuses = (revocation: Revocation): boolean => revocation.expiresAt > now && isRevoked(identity, revocation)
    for (const key of keysOf(identity)) {
      for (const revocation of this.#byKey.get(key)?.values() ?? []) if (refuses(revocation)) return revocation
    }
    return this.ahead().find(({ entry }) => refuses(entry.revocation))?.entry.revocation
  }

  /** Whether one that was dispatched already has ended a session of another process. */
  ends({ user, token, attachedAt }: Pick<PeerSession, 'user' | 'token' | 'attachedAt'>): boolean {
    const marked = { ...token, user }
    return keysOf(marked).some((key) =>
      [...(this.#byKey.get(key)?.keys() ?? [])].some((id) => {
        const stored = this.#byId.get(id)
        if (stored === undefined) return false
        const { position, time, entry } = stored
        return entry.revocation.expiresAt > this.#now() && endsSession(marked, attachedAt, { position, time, revocation: entry.revocation })
      }),
    )
  }

  /** Those that are stored and were not dispatched yet: what is read from the log may stand behind them. */
  ahead(): readonly Stored<RevocationEntry>[] {
    return this.#log.head() > this.#position ? this.#log.revocations(this.#position) : []
  }

  /** At most `limit` of those after a position, in order, and whether there are more. */
  page(after: number, limit: number): { readonly revocations: readonly Stored<RevocationEntry>[]; readonly more: boolean } {
    const revocations: Stored<RevocationEntry>[] = []
    for (const stored of this.#byId.values()) {
      if (stored.position <= after) continue
      if (revocations.length === limit) return { revocations, more: true }
      revocations.push(stored)
    }
    return { revocations, more: false }
  }

  /** The ids of at most `limit` that have expired. */
  expired(limit: number): readonly string[] {
    const now = this.#now()
    const ids: string[] = []
    for (const [id, { entry }] of this.#byId) {
      if (ids.length === limit) break
      if (entry.revocation.expiresAt <= now) ids.push(id)
    }
    return ids
  }

  #put(stored: Stored<RevocationEntry>): void {
    const { revocation } = stored.entry
    // Its place is that of the newest entry.
    this.#drop(revocation.id)
    this.#byId.set(revocation.id, stored)
    const key = keyOf(revocation)
    const same = this.#byKey.get(key)
    if (same === undefined) this.#byKey.set(key, new Map([[revocation.id, revocation]]))
    else same.set(revocation.id, revocation)
  }

  #drop(id: string): void {
    const revocation = this.get(id)
    if (revocation === undefined) return
    this.#byId.delete(id)
    const same = this.#byKey.get(keyOf(revocation))
    same?.delete(id)
    if (same?.size === 0) this.#byKey.delete(keyOf(revocation))
  }
}

function keyOf({ jti, sid, user }: Revocation): string {
  const [id] = tokenIds({ jti, sid })
  return id ?? (user === undefined ? 'all' : `user:${user}`)
}

function keysOf(token: MarkedToken): readonly string[] {
  return [...tokenIds(token), `user:${token.user}`, 'all']
}
