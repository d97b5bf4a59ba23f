import { hash } from 'node:crypto'
import { toBridgeError } from '../errors.ts'

/** Answers that are kept; the one that was used least recently makes room. */
const maxAnswers = 10_000

interface Kept<T> {
  readonly answer: Promise<T>
  /** Milliseconds since 1970; for ever while the answer is under way, so that a question is asked once at a time. */
  until: number
}

export interface AnswerCacheOptions {
  readonly cacheMs: number
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly onHit: () => void
}

/** Answers of a moment ago, also refusals: a thousand clients that come back at once must not be a thousand calls for each room. Failures are not kept. */
export class AnswerCache<T extends { readonly until?: number }> {
  readonly #options: AnswerCacheOptions
  readonly #kept = new Map<string, Kept<T>>()

  constructor(options: AnswerCacheOptions) {
    this.#options = options
  }

  /** `parts`: all that the answer depends on. An answer is kept up to its own end at most. */
  ask(parts: readonly unknown[], question: () => Promise<T>): Promise<T> {
    const { now, cacheMs, onHit } = this.#options
    const start = now()
    // A digest: credentials are among the parts, and must not stay in memory.
    const key = hash('sha256', JSON.stringify(parts), 'base64')
    const known = this.#kept.get(key)
    this.#kept.delete(key)
    if (known !== undefined && start < known.until) {
      this.#kept.set(key, known)
      onHit()
      return known.answer
    }
    const kept: Kept<T> = { answer: question(), until: Number.POSITIVE_INFINITY }
    this.#kept.set(key, kept)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= maxAnswers) break
      this.#kept.delete(oldest)
    }
    const settle = (until: number): void => {
      kept.until = until
      if (until <= now() && this.#kept.get(key) === kept) this.#kept.delete(key)
    }
    kept.answer.then(
      ({ until = Number.POSITIVE_INFINITY }) => settle(Math.min(start + cacheMs, until)),
      (error: unknown) => settle(toBridgeError(error).status < 500 ? start + cacheMs : 0),
    )
    return kept.answer
  }
}
