import type { Stored } from '../../core/entry.ts'
import { BridgeError } from '../../errors.ts'

/** The one who follows the log, and who cannot stop it, whatever becomes of what it is told. */
export class Handover {
  readonly #onFailure: (error: unknown) => void
  #onEntries: ((entries: readonly Stored[]) => void) | undefined
  #onLost: (() => void) | undefined

  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure
  }

  follow(onEntries: (entries: readonly Stored[]) => void, onLost?: () => void): void {
    if (this.#onEntries !== undefined) throw new BridgeError('internal', 'the log has a follower already')
    this.#onEntries = onEntries
    this.#onLost = onLost
  }

  entries(entries: readonly Stored[]): void {
    this.#safely(() => this.#onEntries?.(entries))
  }

  lost(): void {
    this.#safely(() => this.#onLost?.())
  }

  #safely(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.#onFailure(error)
    }
  }
}
