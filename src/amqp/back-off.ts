import { setTimeout as sleep } from 'node:timers/promises'

export interface BackOffOptions {
  readonly firstMs: number
  readonly maxMs: number
}

/** Waits that double up to a limit. Each is random between a half and the whole, so that many bridges do not come back to a broker at once. */
export class BackOff {
  readonly #options: BackOffOptions
  readonly #random: () => number
  #tries = 0

  constructor(options: BackOffOptions, random: () => number = Math.random) {
    this.#options = options
    this.#random = random
  }

  nextMs(): number {
    const { firstMs, maxMs } = this.#options
    const whole = Math.min(maxMs, firstMs * 2 ** Math.min(this.#tries++, 30))
    return Math.round(whole * (0.5 + this.#random() / 2))
  }

  /** What was waited for works. */
  reset(): void {
    this.#tries = 0
  }
}

/** Resolves after a time, or as soon as the signal is given. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}
