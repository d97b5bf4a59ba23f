import type { EventLog } from './event-log.ts'

/** Sessions that are gone but may resume, and have memberships of their own, which somebody has to forget when they can no longer. */
export class Departures {
  readonly #log: EventLog
  readonly #now: () => number
  readonly #leftAt = new Map<string, number>()

  constructor(log: EventLog, now: () => number) {
    this.#log = log
    this.#now = now
    this.reload()
  }

  /** Takes all of them from the log, as if they had left just now. */
  reload(): void {
    this.#leftAt.clear()
    for (const session of this.#log.sessionsWithMemberships()) this.add(session)
  }

  add(session: string): void {
    this.#leftAt.set(session, this.#now())
  }

  delete(session: string): void {
    this.#leftAt.delete(session)
  }

  /** At most `limit` of those that left before a moment. They are named until their end is dispatched. */
  before(time: number, limit: number): readonly string[] {
    const sessions: string[] = []
    for (const [session, leftAt] of this.#leftAt) {
      if (sessions.length === limit) break
      if (leftAt < time) sessions.push(session)
    }
    return sessions
  }
}
