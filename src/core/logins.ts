import type { Identity } from './identity.ts'

/** A login that another has replaced while its session was behind. */
interface Past {
  readonly identity: Identity
  /** It spoke for what stands in the log up to here. */
  readonly upTo: number
  readonly rooms: readonly string[]
}

/**
 * By which token a session reads which part of the log. Whoever is behind gets what it would have got at once: by the token that it had then, although it
 * has another now.
 */
export class Logins {
  #current: Identity
  #past: readonly Past[] = []

  constructor(identity: Identity) {
    this.#current = identity
  }

  get current(): Identity {
    return this.#current
  }

  /** Takes over another login; `past`: what the one before still speaks for, absent when its session has read all of that. */
  replace(identity: Identity, past?: Omit<Past, 'identity'>): void {
    if (past !== undefined) this.#past = [...this.#past, { identity: this.#current, ...past }]
    this.#current = identity
  }

  at(position: number): Identity {
    return this.#past.find(({ upTo }) => position <= upTo)?.identity ?? this.#current
  }

  /** The rooms that the session was in when it changed its login. */
  pastRooms(): readonly string[] {
    return this.#past.flatMap(({ rooms }) => rooms)
  }

  /** All up to this position has been read. */
  forget(position: number): void {
    if (this.#past.length > 0) this.#past = this.#past.filter(({ upTo }) => upTo > position)
  }
}
