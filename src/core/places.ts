import type { Delivery } from './delivery.ts'
import { SetIndex } from './set-index.ts'

interface Place {
  readonly session: string
}

/** The sessions of each user, for their limit: those that are connected, here or elsewhere, and those that were let in and are about to be. */
export class Places {
  readonly #delivery: Pick<Delivery, 'presence' | 'peers'>
  /** By user. */
  readonly #kept = new SetIndex<string, Place>()

  constructor(delivery: Pick<Delivery, 'presence' | 'peers'>) {
    this.#delivery = delivery
  }

  /** How many sessions the user has, not counting `besides`. */
  count(user: string, besides?: string): number {
    const { presence, peers } = this.#delivery
    const sessions = new Set<string>()
    for (const { id } of presence.ofUser(user)) sessions.add(id)
    for (const { session } of peers.ofUser(user)) sessions.add(session)
    for (const { session } of this.#kept.of(user)) sessions.add(session)
    if (besides !== undefined) sessions.delete(besides)
    return sessions.size
  }

  /** Keeps a place for a session until it is connected, or will not be: others who come meanwhile must not take the same one. Returns what gives it up. */
  keep(user: string, session: string): () => void {
    const place = { session }
    this.#kept.put(user, place)
    return () => this.#kept.drop(user, place)
  }
}
