import { type Member, type Membership, type Stored, toMembership } from '../core/entry.ts'
import { sessionStream, userStream } from '../core/target.ts'

/** What the dedupe window knows of an id. */
export interface KnownId {
  readonly position: number
  readonly time: number
  readonly digest: string
}

/** What some of the newest entries say last about ids and about memberships. */
export class Latest {
  readonly #ids = new Map<string, KnownId>()
  /** By the name of the member, then by room. */
  readonly #members = new Map<string, Map<string, Membership>>()

  /** An entry behind all others. */
  add({ position, time, entry }: Stored): void {
    if (entry.kind === 'event' && entry.digest !== undefined) this.#ids.set(entry.id, { position, time, digest: entry.digest })
    if (entry.kind !== 'membership') return
    const rooms = this.#members.get(nameOf(entry.member)) ?? new Map<string, Membership>()
    this.#members.set(nameOf(entry.member), rooms.set(entry.room, toMembership(entry, position, time)))
  }

  /** What it said, unless a later one has said more. */
  forget({ position, entry }: Stored): void {
    if (entry.kind === 'event' && this.#ids.get(entry.id)?.position === position) this.#ids.delete(entry.id)
    if (entry.kind !== 'membership') return
    const name = nameOf(entry.member)
    const rooms = this.#members.get(name)
    if (rooms?.get(entry.room)?.position === position) rooms.delete(entry.room)
    if (rooms?.size === 0) this.#members.delete(name)
  }

  findId(id: string): KnownId | undefined {
    return this.#ids.get(id)
  }

  membership(member: Member, room: string): Membership | undefined {
    return this.#members.get(nameOf(member))?.get(room)
  }

  memberships(member: Member): ReadonlyMap<string, Membership> {
    return this.#members.get(nameOf(member)) ?? new Map<string, Membership>()
  }

  sessionsWithMemberships(): readonly string[] {
    const prefix = sessionStream('')
    return [...this.#members.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length))
  }
}

function nameOf(member: Member): string {
  return 'user' in member ? userStream(member.user) : sessionStream(member.session)
}
