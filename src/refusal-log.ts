import type { Logger } from 'pino'
import type { BridgeError } from './errors.ts'

/** Lines a second: a flood of bad tokens must not become a flood of the disk. */
const maxPerSecond = 10

/** Logs why a login was refused; the client learns only the code. Never the token. */
export function createRefusalLog(logger: Logger, now: () => number): (refusal: BridgeError, address: string) => void {
  let second = 0
  let lines = 0
  let suppressed = 0
  return (refusal, address) => {
    const current = Math.floor(now() / 1000)
    if (current !== second) {
      if (suppressed > 0) logger.info({ suppressed }, 'more logins were refused than are logged')
      second = current
      lines = 0
      suppressed = 0
    }
    if (++lines > maxPerSecond) suppressed++
    else
      logger.info(
        { code: refusal.code, reason: refusal.message, address, ...(refusal.cause === undefined ? {} : { cause: String(refusal.cause) }) },
        'login refused',
      )
  }
}
