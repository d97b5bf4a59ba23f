import type { Stored } from '../core/entry.ts'
import type { EventLog } from '../core/event-log.ts'

interface LogFollower {
  broadcast(entries: readonly Stored[]): void
  /** See `EventLog.follow`. */
  startOver(): void
}

/** The same log; what it hands over goes to somebody else first, in the same order. */
export function withBroadcast(log: EventLog, others: LogFollower): EventLog {
  return {
    get epoch() {
      return log.epoch
    },
    get secret() {
      return log.secret
    },
    append: (entries, errand) => log.append(entries, errand),
    follow: (onEntries, onLost) =>
      log.follow(
        (entries) => {
          others.broadcast(entries)
          onEntries(entries)
        },
        () => {
          others.startOver()
          onLost?.()
        },
      ),
    head: () => log.head(),
    first: () => log.first(),
    offsetOf: (position) => log.offsetOf(position),
    positionOf: (offset) => log.positionOf(offset),
    catchUp: (offset) => log.catchUp(offset),
    read: (after, streams, limit) => log.read(after, streams, limit),
    memberships: (member) => log.memberships(member),
    sessionsWithMemberships: () => log.sessionsWithMemberships(),
    revocations: (after) => log.revocations(after),
    health: () => log.health(),
    close: () => log.close(),
  }
}
