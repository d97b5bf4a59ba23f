import { BridgeError, toBridgeError } from '../errors.ts'

/** Anything thrown as what a client may know of it: what is wrong on our side is `unavailable`, with the cause kept for the log. */
export function toRefusal(thrown: unknown): BridgeError {
  const error = toBridgeError(thrown)
  const { status, code, message, suspect, cause = error } = error
  return status < 500 || code === 'draining' ? error : new BridgeError('unavailable', message, { cause, suspect })
}
