import type { Call } from './call.ts'

/** Below it a number is in seconds since 1970, from there on in milliseconds: the year 5138 in the one, 1973 in the other. */
const firstMilliseconds = 1e11

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

/** Beyond it there is no date in JavaScript. */
const maxMilliseconds = 8.64e15

/**
 * A moment as applications write it: seconds or milliseconds since 1970, or RFC 3339. In milliseconds; undefined when the field is absent or null.
 * @throws BridgeError unavailable
 */
export function readMoment(said: Readonly<Record<string, unknown>>, field: string, call: Call): number | undefined {
  const value = said[field]
  if (value === undefined || value === null) return undefined
  const moment = toMilliseconds(value)
  if (moment > 0 && moment <= maxMilliseconds) return moment
  throw call.failure(`answers with an ${field} that is neither seconds nor milliseconds since 1970 nor RFC 3339`)
}

function toMilliseconds(value: unknown): number {
  if (typeof value === 'number') return Math.floor(value < firstMilliseconds ? value * 1000 : value)
  return typeof value === 'string' && rfc3339.test(value) ? Date.parse(value) : Number.NaN
}
