import { toBridgeError } from '../errors.ts'
import type { BackendObserver, CallKind } from './observer.ts'

export interface Asking {
  readonly observer: BackendObserver
  /** Answers of so long ago are used again; 0: none. */
  readonly cacheMs: number
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Asks, and tells how it went: a refusal is an answer, anything else that is thrown is a failure. */
export async function observed<T>(kind: CallKind, observer: BackendObserver, ask: () => Promise<T>): Promise<T> {
  const start = performance.now()
  const seconds = (): number => (performance.now() - start) / 1000
  try {
    const answer = await ask()
    observer.answered(kind, 'allowed', seconds())
    return answer
  } catch (thrown) {
    const error = toBridgeError(thrown)
    if (error.status < 500) observer.answered(kind, 'denied', seconds())
    else observer.failed(kind, error.message, seconds())
    throw error
  }
}
