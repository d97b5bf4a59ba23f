import type { Stored } from '../../src/core/entry.ts'
import type { EventLog } from '../../src/core/event-log.ts'

/** A log whose follower can be kept behind its head, as with one that is shared by several nodes. */
export class HeldLog implements EventLog {
  readonly #log: EventLog
  #held: Stored[] | undefined
  #handOver: (entries: readonly Stored[]) => void = () => {}

  constructor(log: EventLog) {
    this.#log = log
  }

  /** From now on what is appended can be read and is not handed over. */
  hold(): void {
    this.#held = []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    this.#handOver(held)
  }

  follow(onEntries: (entries: readonly Stored[]) => void): void {
    this.#handOver = onEntries
    this.#log.follow((entries) => {
      if (this.#held === undefined) onEntries(entries)
      else this.#held.push(...entries)
    })
  }

  get epoch() {
    return this.#log.epoch
  }
  get secret() {
    return this.#log.secret
  }
  append: EventLog['append'] = (entries, errand) => this.#log.append(entries, errand)
  head: EventLog['head'] = () => this.#log.head()
  first: EventLog['first'] = () => this.#log.first()
  offsetOf: EventLog['offsetOf'] = (position) => this.#log.offsetOf(position)
  positionOf: EventLog['positionOf'] = (offset) => this.#log.positionOf(offset)
  catchUp: EventLog['catchUp'] = (offset) => this.#log.catchUp(offset)
  read: EventLog['read'] = (after, streams, limit) => this.#log.read(after, streams, limit)
  memberships: EventLog['memberships'] = (member) => this.#log.memberships(member)
  sessionsWithMemberships: EventLog['sessionsWithMemberships'] = () => this.#log.sessionsWithMemberships()
  revocations: EventLog['revocations'] = (after) => this.#log.revocations(after)
  health: EventLog['health'] = () => this.#log.health()
  close: EventLog['close'] = () => this.#log.close()
}
