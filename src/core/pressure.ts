/** What waits in memory for one client. */
export interface Backlog {
  readonly waitingBytes: number
  /** All that was ever written to the client, what waits included. */
  readonly writtenBytes: number
  /** Ends its session, which reads on from the log when the client is back. Idempotent; nothing is reported of it afterwards. */
  cut(): void
}

export interface PressureOptions {
  /** What may wait for all clients together. */
  readonly maxBytes: number
  /** How long a byte may wait. */
  readonly maxLagMs: number
  /** Milliseconds, of any beginning. */
  readonly now: () => number
  /** Told when it begins to be overloaded, and when that is over. */
  readonly onChange?: (overloaded: boolean) => void
}

/** Publishers are refused from here on, and taken again below the second: shares of what may wait. */
const refuseAt = 0.8
const takeAt = 0.6

/** Clients that do not make room are not waited for longer: else those who do not read could keep everybody from publishing. */
const patienceMs = 5000

interface Waiting {
  bytes: number
  /** So much had been written at `markedAt`: until it has left, something is as old as that. */
  mark: number
  markedAt: number
  /** What the client had taken when it was looked at last, and when it was seen to take something. */
  taken: number
  takenAt: number
}

/**
 * What waits for all clients of this process, and what is done about it.
 *
 * States: calm -> overloaded (80 %: publishers are refused) -> calm (60 %). At 100 %, or when it stays overloaded, the clients for whom most waits are cut off
 * until it is calm. When it stays overloaded all go that have taken nothing meanwhile: those of them who are left would fill the rest again, and publishers
 * would wait for them as long each time. Whoever is cut off loses nothing: what waits for it stands in the log.
 */
export class Pressure {
  readonly #options: PressureOptions
  /** Those for whom something waited when they were looked at last. */
  readonly #waiting = new Map<Backlog, Waiting>()
  #bytes = 0
  #overloadedSince: number | undefined
  #relief: NodeJS.Immediate | undefined

  constructor(options: PressureOptions) {
    this.#options = options
  }

  get bytes(): number {
    return this.#bytes
  }

  get overloaded(): boolean {
    return this.#overloadedSince !== undefined
  }

  /** To be called when something was written and has not left at once. What has left since is found by `recount`. */
  report(backlog: Backlog): void {
    const bytes = backlog.waitingBytes
    const known = this.#waiting.get(backlog)
    if (known === undefined) {
      const { writtenBytes } = backlog
      const now = this.#options.now()
      this.#waiting.set(backlog, { bytes, mark: writtenBytes, markedAt: now, taken: writtenBytes - bytes, takenAt: now })
    } else {
      this.#bytes -= known.bytes
      known.bytes = bytes
    }
    this.#bytes += bytes
    this.#judge()
  }

  /** To be called several times a second. */
  recount(): void {
    const now = this.#options.now()
    this.#count(now)
    for (const [backlog, { markedAt }] of this.#waiting) if (now - markedAt > this.#options.maxLagMs) this.#cut(backlog)
    this.#judge()
    if (this.#overloadedSince === undefined || now - this.#overloadedSince <= patienceMs) return
    for (const [backlog, { takenAt }] of this.#waiting) if (takenAt <= this.#overloadedSince) this.#cut(backlog)
    this.#relieve()
  }

  /** No more is looked at or cut off. */
  close(): void {
    clearImmediate(this.#relief)
    this.#waiting.clear()
  }

  #count(now: number): void {
    this.#bytes = 0
    for (const [backlog, waiting] of this.#waiting) {
      const { waitingBytes, writtenBytes } = backlog
      if (waitingBytes === 0) {
        this.#waiting.delete(backlog)
        continue
      }
      waiting.bytes = waitingBytes
      this.#bytes += waitingBytes
      const taken = writtenBytes - waitingBytes
      if (taken > waiting.taken) {
        waiting.taken = taken
        waiting.takenAt = now
      }
      if (taken < waiting.mark) continue
      waiting.mark = writtenBytes
      waiting.markedAt = now
    }
  }

  #judge(): void {
    const { maxBytes, now, onChange } = this.#options
    const limit = maxBytes * (this.overloaded ? takeAt : refuseAt)
    if (this.#bytes >= limit !== this.overloaded) {
      this.#overloadedSince = this.overloaded ? undefined : now()
      onChange?.(this.overloaded)
    }
    // In a turn of its own: whoever reports is in the middle of a fan-out.
    if (this.#bytes >= maxBytes) this.#relief ??= setImmediate(() => this.#relieve())
  }

  /** Cuts off those for whom most waits. */
  #relieve(): void {
    this.#relief = undefined
    this.#count(this.#options.now())
    const worst = [...this.#waiting].toSorted(([, one], [, other]) => other.bytes - one.bytes || one.markedAt - other.markedAt)
    for (const [backlog] of worst) {
      if (this.#bytes < this.#options.maxBytes * takeAt) break
      this.#cut(backlog)
    }
    this.#judge()
  }

  #cut(backlog: Backlog): void {
    this.#bytes -= this.#waiting.get(backlog)?.bytes ?? 0
    this.#waiting.delete(backlog)
    backlog.cut()
  }
}
