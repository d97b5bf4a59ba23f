import { Hub, type HubOptions } from '../../src/core/hub.ts'
import type { Observer } from '../../src/core/observer.ts'
import { EmbeddedLog } from '../../src/log/embedded.ts'

/** How long a session that is gone keeps its rooms. */
export const retentionAgeMs = 2500

/** A hub on an embedded log, with a clock that moves when it is told to. */
export class Stage {
  readonly failures: unknown[] = []
  readonly #directory: string
  readonly #options: Partial<HubOptions>
  #now = 1_000_000
  #ids = 0
  #open: { readonly log: EmbeddedLog; readonly hub: Hub } | undefined

  constructor(directory: string, options: Partial<HubOptions> = {}) {
    this.#directory = directory
    this.#options = options
  }

  get now(): number {
    return this.#now
  }

  get log(): EmbeddedLog {
    return this.#parts.log
  }

  get hub(): Hub {
    return this.#parts.hub
  }

  get #parts() {
    if (this.#open === undefined) throw new Error('the stage is not open')
    return this.#open
  }

  async open(): Promise<void> {
    const now = () => this.#now
    const onFailure = (error: unknown) => void this.failures.push(error)
    const keepAll = { retentionAgeMs: 1e15, retentionEvents: 1e9, dedupeWindowMs: 1e15 }
    const log = await EmbeddedLog.open({ directory: this.#directory, durability: 'process', now, onFailure, ...keepAll })
    const hub = new Hub({
      log,
      observer: silent(onFailure),
      now,
      newId: () => this.newId(),
      retentionAgeMs,
      maxRoomsPerSession: 100,
      revocationAgeMs: 3_600_000,
      clockToleranceMs: 0,
      ...this.#options,
    })
    this.#open = { log, hub }
  }

  async close(): Promise<void> {
    await this.log.close()
    this.#open = undefined
  }

  newId(): string {
    return `n${this.#ids++}`
  }

  pass(ms = 1000): void {
    this.#now += ms
  }
}

function silent(failed: (error: unknown) => void): Observer {
  const nothing = () => {}
  return {
    eventsPublished: nothing,
    eventDispatched: nothing,
    publishRefused: nothing,
    sessionOpened: nothing,
    sessionClosed: nothing,
    requestRefused: nothing,
    sessionResumed: nothing,
    resumeRefused: nothing,
    handshakeRefused: nothing,
    revoked: nothing,
    revocationsInForce: nothing,
    failed,
  }
}
