import type { LogKeys } from './keys.ts'
import type { Link } from './link.ts'
import { trimScript } from './scripts.ts'
import type { Window } from './window.ts'

const volatileKeepMs = 10_000

export interface TrimmingOptions {
  readonly keys: LogKeys
  readonly everyMs: number
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** In place of the clock of Redis. */
  readonly clock?: (() => number) | undefined
  /** As they are at the moment; a link only while there is one. */
  readonly standing: () => { readonly window: Window; readonly epoch: string; readonly link: Link | undefined }
  readonly onFailure: (error: unknown) => void
}

/** Removes what is too old or too much: in the window, then in Redis. One round at a time. */
export class Trimming {
  readonly #options: TrimmingOptions
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | undefined

  constructor(options: TrimmingOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.soon(), options.everyMs).unref()
  }

  soon(): void {
    this.#running ??= this.#trim().finally(() => {
      this.#running = undefined
    })
  }

  /** Resolves when no round is under way. */
  async settled(): Promise<void> {
    await this.#running
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running
  }

  /** Never rejects. */
  async #trim(): Promise<void> {
    const { keys, standing, now, clock, onFailure } = this.#options
    try {
      const { window, epoch, link } = standing()
      const first = await window.sweep(now(), onFailure)
      if (link === undefined || window !== standing().window) return
      const args = [epoch, String(first), String(volatileKeepMs), String(clock?.() ?? '')]
      await link.commands.run(trimScript, [keys.meta, keys.log, keys.volatile], args)
    } catch (error) {
      // The next round tries again; what ails the link is told by those who need it.
      if (standing().link !== undefined) onFailure(error)
    }
  }
}
