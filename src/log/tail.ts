import { entryStreams, type Member, type Membership, type Stored, toMembership } from '../core/entry.ts'
import { type Stream, sessionStream, userStream } from '../core/target.ts'

/** What the dedupe window knows of an id. */
export interface KnownId {
  readonly position: number
  readonly time: number
  readonly digest: string
}

/** The newest entries, which do not stand in the tables yet: found as if they did. */
export class Tail {
  readonly #entries = new Map<number, { readonly stored: Stored; readonly streams: readonly Stream[] }>()
  /** Positions, in order. */
  readonly #streams = new Map<Stream, number[]>()
  readonly #ids = new Map<string, KnownId>()
  /** By the name of the member, then by room. */
  readonly #members = new Map<string, Map<string, Membership>>()
  #head = 0
  #time = 0
  #kept = 0

  /** The position of the newest entry; 0 when there is none. */
  get head(): number {
    return this.#entries.size === 0 ? 0 : this.#head
  }

  /** Of the newest entry. */
  get time(): number {
    return this.#time
  }

  /** How many entries can be read. */
  get kept(): number {
    return this.#kept
  }

  get size(): number {
    return this.#entries.size
  }

  /** An entry behind all others; found by these streams. */
  add(stored: Stored, streams = entryStreams(stored.entry)): void {
    const { position, time, entry } = stored
    this.#entries.set(position, { stored, streams })
    this.#head = position
    this.#time = time
    if (streams.length > 0) this.#kept++
    for (const stream of streams) {
      const positions = this.#streams.get(stream)
      if (positions === undefined) this.#streams.set(stream, [position])
      else positions.push(position)
    }
    if (entry.kind === 'event' && entry.digest !== undefined) this.#ids.set(entry.id, { position, time, digest: entry.digest })
    if (entry.kind !== 'membership') return
    const rooms = this.#members.get(nameOf(entry.member)) ?? new Map<string, Membership>()
    this.#members.set(nameOf(entry.member), rooms.set(entry.room, toMembership(entry, position, time)))
  }

  /** The tables have them now. */
  drop(upTo: number): void {
    const streams = new Set<Stream>()
    for (const [position, { stored, streams: named }] of this.#entries) {
      if (position > upTo) break
      this.#entries.delete(position)
      if (named.length > 0) this.#kept--
      for (const stream of named) streams.add(stream)
      this.#forget(stored)
    }
    for (const stream of streams) {
      const left = this.positions(stream, upTo + 1)
      if (left.length === 0) this.#streams.delete(stream)
      else this.#streams.set(stream, left)
    }
  }

  all(): readonly Stored[] {
    return [...this.#entries.values()].map(({ stored }) => stored)
  }

  get(position: number): Stored | undefined {
    return this.#entries.get(position)?.stored
  }

  /** Of the entries of a stream, from a position on. */
  positions(stream: Stream, from: number): number[] {
    const positions = this.#streams.get(stream)
    if (positions === undefined) return []
    const first = positions.findIndex((position) => position >= from)
    return first === -1 ? [] : positions.slice(first)
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

  #forget({ position, entry }: Stored): void {
    if (entry.kind === 'event' && this.#ids.get(entry.id)?.position === position) this.#ids.delete(entry.id)
    if (entry.kind !== 'membership') return
    const name = nameOf(entry.member)
    const rooms = this.#members.get(name)
    if (rooms?.get(entry.room)?.position === position) rooms.delete(entry.room)
    if (rooms?.size === 0) this.#members.delete(name)
  }
}

function nameOf(member: Member): string {
  return 'user' in member ? userStream(member.user) : sessionStream(member.session)
}
