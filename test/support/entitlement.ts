import { expect } from 'vitest'

/** What a login says about rooms. */
export interface Login {
  readonly user: string
  /** Rooms that it names. */
  readonly rooms: readonly string[]
  /** Whether it allows asking for the room. */
  readonly opens: (room: string) => boolean
  /** Milliseconds since 1970; absent when the token does not say. */
  readonly issuedAt?: number
}

/** Something that was said about who is in a room: by the backend about a user, by a session about itself. */
export interface Word {
  readonly position: number
  readonly time: number
  readonly room: string
  readonly by: { readonly user: string } | { readonly session: string }
  readonly present: boolean
}

export interface SentEvent {
  readonly position: number
  readonly time: number
  readonly name: string
  readonly to: { readonly users: readonly string[]; readonly rooms: readonly string[]; readonly sessions: readonly string[]; readonly all: boolean }
  readonly except: { readonly users: readonly string[]; readonly sessions: readonly string[] }
  readonly volatile: boolean
}

/** All that happened, in the order of the log. */
export interface History {
  readonly words: readonly Word[]
  readonly events: readonly SentEvent[]
  /** Ends of sessions that do not go on. */
  readonly ends: readonly { readonly position: number; readonly by: Word['by'] }[]
}

/** What one connection got. */
export interface Line {
  readonly session: string
  readonly login: Login
  /** The head of the log when it came. */
  readonly head: number
  /** Where it resumed; absent: it began anew. */
  readonly after?: number
  /** Whether the client sometimes did not take what was sent. */
  readonly slow: boolean
  readonly items: readonly Item[]
}

export type Item =
  | { readonly position: number; readonly event: string }
  | { readonly position: number; readonly ready: readonly string[] }
  | { readonly position: number; readonly room: string; readonly entered: boolean; readonly by?: string }
  | { readonly position: number; readonly expiresAt: number }

/**
 * Who must and who must not see what: the promises once more, told from the whole history instead of from states that are kept up to date.
 */
export class Entitlement {
  readonly #history: History

  constructor(history: History) {
    this.#history = history
  }

  /** Whether a session is in a room when all up to a position has been said. */
  isIn({ login, session }: Pick<Line, 'login' | 'session'>, room: string, upTo: number): boolean {
    let backend: Word | undefined
    let own: Word | undefined
    for (const word of this.#history.words) {
      if (word.room !== room || word.position > upTo) continue
      if ('session' in word.by) {
        if (word.by.session === session) own = word
      } else if (word.by.user === login.user) {
        backend = word
        // A removal voids what the session had asked for.
        if (!word.present) own = undefined
      }
    }
    if (backend?.present) return true
    const silenced = backend !== undefined && !(login.issuedAt !== undefined && login.issuedAt > backend.time)
    if (silenced) return false
    if (own !== undefined) return own.present && login.opens(room)
    return login.rooms.includes(room)
  }

  roomsAt(line: Pick<Line, 'login' | 'session'>, position: number): readonly string[] {
    const rooms = new Set([...line.login.rooms, ...this.#history.words.map(({ room }) => room)])
    return [...rooms].filter((room) => this.isIn(line, room, position)).toSorted()
  }

  /** Whether a connected session must get an event. */
  isFor(line: Pick<Line, 'login' | 'session'>, event: SentEvent): boolean {
    return this.#isNamed(line, event, (room) => this.isIn(line, room, event.position))
  }

  /** Fails when a line lacks something up to the last thing that it got, or got what is not for it, or in another order. */
  check(line: Line): void {
    const { items, head, after } = line
    const events = items.flatMap((item) => ('event' in item ? [item] : []))
    const what = `session ${line.session} of ${line.login.user}, after ${after}, head ${head}`
    const back = items.findIndex(({ position }, index) => position < (items[index - 1]?.position ?? after ?? head))
    expect(back, `${what}: an item goes back`).toBe(-1)
    const readyAt = items.findIndex((item) => 'ready' in item)
    const ready = items[readyAt]
    if (after === undefined && items.length > 0)
      expect(items[0], `${what}: begins with ready`).toMatchObject({ position: head, ready: expect.any(Array) })
    if (ready !== undefined && 'ready' in ready) {
      expect(ready.ready.toSorted(), `${what}: rooms of ready`).toEqual(this.roomsAt(line, ready.position))
      this.#checkNotices(line, ready, readyAt, what)
    }

    const end = items.at(-1)?.position ?? 0
    const got = new Set(events.map(({ event }) => event))
    expect(got.size, `${what}: got something twice`).toBe(events.length)
    const due: string[] = []
    for (const event of this.#history.events) {
      if (event.position > end) continue
      const duty = this.#duty(line, event, ready?.position)
      if (duty === 'must' || (duty === 'may' && got.has(event.name))) due.push(event.name)
    }
    expect(
      events.map(({ event }) => event),
      `${what}: what it got up to ${end}`,
    ).toEqual(due)

    const ended = this.#history.ends.find(({ position, by }) => position > head && this.#concerns(line, by))
    if (ended !== undefined) expect(end, `${what}: got something after its end`).toBeLessThanOrEqual(ended.position)
  }

  /** How many of the lines that were connected then an event was for. */
  matched(lines: readonly (Line & { readonly leftAt?: number })[], event: SentEvent): number {
    return lines.filter(
      (line) =>
        line.head < event.position &&
        (line.leftAt ?? Number.POSITIVE_INFINITY) >= event.position &&
        !this.#history.ends.some(({ position, by }) => position > line.head && position < event.position && this.#concerns(line, by)) &&
        this.isFor(line, event),
    ).length
  }

  /** Whether a session may go on after a position: nobody has ended it since. */
  mayResume(line: Pick<Line, 'login' | 'session' | 'head'>, after: number): boolean {
    return !this.#history.ends.some(({ position, by }) => position > after && position <= line.head && this.#concerns(line, by))
  }

  /** Whether the backend ever spoke about the user and the room. */
  isManaged({ login }: Pick<Line, 'login'>, room: string): boolean {
    return this.#history.words.some((word) => word.room === room && 'user' in word.by && word.by.user === login.user)
  }

  #concerns({ session, login }: Pick<Line, 'login' | 'session'>, by: Word['by']): boolean {
    return 'session' in by ? by.session === session : by.user === login.user
  }

  #duty(line: Line, event: SentEvent, ready: number | undefined): 'must' | 'may' | 'must not' {
    const { position } = event
    const { after, head } = line
    if (position <= (after ?? head)) return 'must not'
    const live = ready !== undefined && position > ready
    if (event.volatile) {
      if (!live || !this.isFor(line, event)) return 'must not'
      return line.slow ? 'may' : 'must'
    }
    if (live) return this.isFor(line, event) ? 'must' : 'must not'

    // What it catches up on: it must have been in the room then, and still be. While it catches up its rooms may change; then either is right.
    const wasIn = (room: string): boolean => this.isIn(line, room, position) && !this.#isBeforeToken(line, room, event)
    const moments = [head, ...this.#history.words.map((word) => word.position).filter((at) => at > head && at <= (ready ?? Number.POSITIVE_INFINITY))]
    if (this.#isNamed(line, event, (room) => wasIn(room) && moments.every((at) => this.isIn(line, room, at)))) return 'must'
    return this.#isNamed(line, event, (room) => wasIn(room) && moments.some((at) => this.isIn(line, room, at))) ? 'may' : 'must not'
  }

  /** After a removal a newer token speaks, but not for what was published before it was issued. */
  #isBeforeToken({ login }: Line, room: string, event: SentEvent): boolean {
    const backend = this.#history.words.findLast(
      (word) => 'user' in word.by && word.by.user === login.user && word.room === room && word.position < event.position,
    )
    return backend?.present === false && login.issuedAt !== undefined && event.time < login.issuedAt
  }

  #isNamed({ login, session }: Pick<Line, 'login' | 'session'>, { to, except }: SentEvent, inRoom: (room: string) => boolean): boolean {
    if (except.users.includes(login.user) || except.sessions.includes(session)) return false
    return to.all || to.users.includes(login.user) || to.sessions.includes(session) || to.rooms.some(inRoom)
  }

  /** What a session is told about its rooms adds up to the rooms in which it is. */
  #checkNotices(line: Line, ready: { readonly position: number; readonly ready: readonly string[] }, readyAt: number, what: string): void {
    const rooms = new Set(ready.ready)
    for (const item of line.items.slice(readyAt)) {
      if (!('entered' in item)) continue
      expect(rooms.has(item.room), `${what}: told of ${item.room} at ${item.position} although nothing changed`).toBe(!item.entered)
      if (item.entered) rooms.add(item.room)
      else rooms.delete(item.room)
      // One that was behind is told of all changes at once, one after the other, at one position.
      if (!line.slow) expect([...rooms].toSorted(), `${what}: rooms as told up to ${item.position}`).toEqual(this.roomsAt(line, item.position))
    }
  }
}
