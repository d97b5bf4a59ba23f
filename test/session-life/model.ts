import { rooms } from './commands.ts'

/** How long a session outlives its token. */
export const toleranceMs = 500

/** What a login token says, in milliseconds since 1970. */
export interface Token {
  readonly user: string
  readonly rooms: readonly string[]
  readonly grant: boolean
  readonly iat: number
  readonly exp: number
  readonly jti: string | undefined
  readonly sid: string | undefined
  readonly key: string
}

/** Something that was said about a room: by the backend about a user, by a session about itself. */
export interface Word {
  readonly position: number
  readonly time: number
  readonly room: string
  readonly by: { readonly user: string } | { readonly session: string }
  readonly says: 'in' | 'out'
  readonly right?: { readonly until: number; readonly givenAt: number }
}

export interface Sent {
  readonly position: number
  readonly time: number
  readonly name: string
  readonly room: string | undefined
  readonly user: string | undefined
  readonly volatile: boolean
}

export interface Revoked {
  readonly id: string
  readonly user: string | undefined
  readonly jti: string | undefined
  readonly sid: string | undefined
  readonly before: number | undefined
  /** As the backend gave it. */
  readonly expiresAt: number
}

/** What a session is to get. `must` false: it may. */
interface Due {
  readonly name: string
  readonly inRoom: boolean
  must: boolean
}

/** One connection, as it has to be. */
export interface Life {
  readonly session: string
  token: Token
  /** Whether its client takes everything at once. */
  readonly prompt: boolean
  rooms: ReadonlyMap<string, string>
  expiringAt: number | undefined
  ended: string | undefined
  /** Whether it has been told that it is ready. */
  ready: boolean
  readonly due: Due[]
  /** All that a prompt one is told, in order. */
  readonly told: string[]
}

/** The promises about a session's life, told from the whole history. */
export class Model {
  readonly words: Word[] = []
  readonly sent: Sent[] = []
  readonly ends: { readonly position: number; readonly by: Word['by'] }[] = []
  readonly revoked = new Map<string, Revoked>()
  readonly lives = new Set<Life>()

  /** Why the session is in the room when all up to a position has been said. */
  reason(session: string, token: Token, room: string, time: number, upTo = Number.POSITIVE_INFINITY): string | undefined {
    let backend: Word | undefined
    let own: Word | undefined
    for (const word of this.words) {
      if (word.room !== room || word.position > upTo) continue
      if ('session' in word.by) {
        if (word.by.session === session) own = word
      } else if (word.by.user === token.user) backend = word
    }
    if (backend?.says === 'in') return 'backend'
    const removed = backend
    const { right } = own ?? {}
    const isAllowed = right !== undefined && time < right.until && (removed === undefined || right.givenAt > removed.time)
    if (isAllowed && own !== undefined && own.position > (removed?.position ?? 0)) return 'request'
    // A right that is over leaves nothing behind.
    if (right !== undefined) own = undefined
    if (removed !== undefined && token.iat - toleranceMs <= removed.time) return undefined
    if (!token.grant && !token.rooms.includes(room)) return undefined
    if (own !== undefined && (removed === undefined || own.position > removed.position)) return own.says === 'in' ? 'request' : undefined
    return token.rooms.includes(room) ? 'token' : undefined
  }

  roomsOf(session: string, token: Token, time: number): ReadonlyMap<string, string> {
    return new Map(
      rooms.flatMap((room) => {
        const by = this.reason(session, token, room, time)
        return by === undefined ? [] : [[room, by] as const]
      }),
    )
  }

  /** Whether it is in the room by something that does not end by itself. */
  stays(life: Life, room: string): boolean {
    return life.rooms.has(room) && this.reason(life.session, life.token, room, 1e15) !== undefined
  }

  /** Whether token or backend let it in. */
  isOpen({ token }: Life, room: string, time: number): boolean {
    return this.reason('', { ...token, rooms: token.grant ? [room] : token.rooms }, room, time) !== undefined
  }

  isRevoked(token: Token, now: number): boolean {
    return [...this.revoked.values()].some((one) => !isOver(one, now) && names(one, token) && (one.before === undefined || token.iat < one.before))
  }

  /** A published event goes to whom it is for. */
  deliver(event: Sent): void {
    this.sent.push(event)
    for (const life of this.lives) {
      const inRoom = event.room !== undefined && life.rooms.has(event.room)
      if (event.user !== life.token.user && !inRoom) continue
      // Whoever reads from the log reads nothing volatile.
      life.due.push({ name: event.name, inRoom: event.user !== life.token.user, must: life.prompt || !event.volatile })
      life.told.push(event.name)
    }
  }

  /** What a session that comes back is to get of what it missed. */
  missed(life: Life, after: number): void {
    for (const event of this.sent) {
      if (event.position <= after || event.volatile) continue
      const forUser = event.user === life.token.user
      const inRoom = event.room !== undefined && life.rooms.has(event.room) && this.#wasIn(life, event.room, event)
      if (!forUser && !inRoom) continue
      life.due.push({ name: event.name, inRoom: !forUser, must: true })
      life.told.push(event.name)
    }
  }

  /** After a removal the newer token speaks, but not for what was published before it was issued. */
  #wasIn({ session, token }: Life, room: string, { position, time }: Sent): boolean {
    const by = this.reason(session, token, room, time, position)
    const backend = this.words.findLast((word) => word.room === room && 'user' in word.by && word.by.user === token.user && word.position < position)
    const byRight = by === 'request' && this.reason(session, { ...token, rooms: [], grant: false }, room, time, position) === 'request'
    if (backend?.says === 'out' && !byRight && time < token.iat - toleranceMs) return false
    return by !== undefined
  }

  /** What has been said changes who is in which room. */
  follow(time: number, backend: boolean): void {
    for (const life of this.lives) this.change(life, this.roomsOf(life.session, life.token, time), backend)
  }

  change(life: Life, now: ReadonlyMap<string, string>, backend = false): void {
    const before = life.rooms
    const left = [...before].filter(([room]) => !now.has(room)).map(([room, by]) => `left ${room} ${backend ? 'backend' : by}`)
    const joined = [...now].filter(([room]) => !before.has(room)).map(([room, by]) => `joined ${room} ${by}`)
    life.rooms = now
    if (life.ready) life.told.push(...left, ...joined)
    // A right that is lost while it catches up may be lost for all that it has not read.
    else if (left.length > 0) for (const due of life.due) due.must &&= !due.inRoom
  }

  /** Time has passed. */
  age(now: number): void {
    for (const life of this.lives) {
      if (life.token.exp + toleranceMs <= now) {
        this.end(life, 'expired')
        continue
      }
      if (life.expiringAt !== undefined && life.expiringAt <= now) {
        life.expiringAt = undefined
        life.told.push(`expiring ${life.token.exp}`)
      }
      this.change(life, this.roomsOf(life.session, life.token, now))
    }
  }

  end(life: Life, by: string): void {
    life.ended = by
    this.lives.delete(life)
  }
}

/** No token that is taken can be left that it concerns. */
export function isOver({ expiresAt }: Revoked, now: number): boolean {
  return expiresAt + toleranceMs <= now
}

export function names(one: Revoked, token: Token): boolean {
  return (
    (one.user === undefined || one.user === token.user) &&
    (one.jti === undefined || one.jti === token.jti) &&
    (one.sid === undefined || one.sid === token.sid)
  )
}

/** When the client hears that its token ends soon. */
export function toExpiringAt({ exp }: Token, now: number): number {
  return exp - Math.min(60_000, Math.max(0, exp - now) / 4)
}
