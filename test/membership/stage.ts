import { Hub } from '../../src/core/hub.ts'
import type { Observer } from '../../src/core/observer.ts'
import type { PeerLink } from '../../src/core/peers.ts'
import { EmbeddedLog } from '../../src/log/embedded.ts'

/** How long a session that is gone keeps its rooms. */
const retentionAgeMs = 2500

/** A hub on an embedded log, with a clock that moves when it is told to. */
export class Stage {
  readonly failures: unknown[] = []
  readonly #directory: string
  #now = 1_000_000
  #ids = 0
  #open: { readonly log: EmbeddedLog; readonly hub: Hub } | undefined

  readonly #link: PeerLink | undefined

  /** `link`: to other processes that the test plays. */
  constructor(directory: string, link?: PeerLink) {
    this.#directory = directory
    this.#link = link
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
      ...(this.#link && { link: this.#link }),
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

  pass(): void {
    this.#now += 1000
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
    sessionResumed: nothing,
    resumeRefused: nothing,
    handshakeRefused: nothing,
    failed,
  }
}
