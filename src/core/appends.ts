import { BridgeError } from '../errors.ts'
import type { Entry, EventEntry } from './entry.ts'
import { type Appended, type EventLog, maxAppendEntries } from './event-log.ts'

/** From the log's promise that entries are kept to the moment when they are in force: dispatched to the sessions. */
export class Appends {
  readonly #log: EventLog
  #dispatched: number
  #waiting: { readonly position: number; readonly resolve: () => void }[] = []

  constructor(log: EventLog) {
    this.#log = log
    this.#dispatched = log.head()
  }

  /** Resolves when the entries are stored and dispatched. `errand`: see `EventLog.append`. @throws BridgeError log_unavailable */
  async append(entries: readonly Entry[], errand?: symbol): Promise<readonly Appended[]> {
    if (entries.length === 0) return []
    if (entries.length > maxAppendEntries) throw new BridgeError('internal', `${entries.length} entries are more than one append may hold`)
    const appended = await this.#log.append(entries, errand)
    const last = appended.findLast(({ outcome }) => outcome === 'stored')
    if (last !== undefined && last.position > this.#dispatched) {
      await new Promise<void>((resolve) => this.#waiting.push({ position: last.position, resolve }))
    }
    return appended
  }

  /** Appends what is not an event; it is in force when this resolves. Returns its offset. @throws BridgeError log_unavailable */
  async control(entry: Exclude<Entry, EventEntry>): Promise<string> {
    const [appended] = await this.append([entry])
    return this.#log.offsetOf(appended?.position ?? this.#log.head())
  }

  /** To be called when everything up to a position has been dispatched. */
  dispatched(position: number): void {
    this.#dispatched = position
    if (this.#waiting.length === 0) return
    const due = this.#waiting.filter((waiting) => waiting.position <= position)
    this.#waiting = this.#waiting.filter((waiting) => waiting.position > position)
    for (const { resolve } of due) resolve()
  }
}
