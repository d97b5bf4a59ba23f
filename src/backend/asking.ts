import { toBridgeError } from '../errors.ts'
import type { BackendJournal, BackendObserver, CallKind } from './observer.ts'

export interface Asking {
  readonly observer: BackendObserver
  readonly journal: BackendJournal
  /** Answers of so long ago are used again; 0: none. */
  readonly cacheMs: number
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Asks, and tells how it went: a refusal is an answer, anything else that is thrown is a failure. */
export async function observed<T>(kind: CallKind, { observer, journal }: Asking, ask: () => Promise<T>): Promise<T> {
  const start = performance.now()
  const tell = (outcome: 'allowed' | 'denied' | 'failed'): void => observer.asked(kind, outcome, (performance.now() - start) / 1000)
  try {
    const answer = await ask()
    tell('allowed')
    journal.answered(kind, 'allowed')
    return answer
  } catch (thrown) {
    const error = toBridgeError(thrown)
    if (error.status < 500) {
      tell('denied')
      journal.answered(kind, 'denied')
    } else {
      tell('failed')
      journal.failed(kind, error.message)
    }
    throw error
  }
}
