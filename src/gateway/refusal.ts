import { BridgeError, toBridgeError } from '../errors.ts'

/** Anything thrown as what a client may know of it: what is wrong on our side is `unavailable`, with the cause kept for the log. */
export function toRefusal(thrown: unknown): BridgeError {
  const error = toBridgeError(thrown)
  return error.status < 500 || error.code === 'draining' ? error : new BridgeError('unavailable', error.message, { cause: error.cause ?? error })
}
