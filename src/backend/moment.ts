/** Below it a number is in seconds since 1970, from there on in milliseconds: the year 5138 in the one, 1973 in the other. */
const firstMilliseconds = 1e11

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

/** A moment as applications write it: seconds or milliseconds since 1970, or RFC 3339. In milliseconds; undefined when it is none. */
export function parseMoment(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) && value > 0 ? Math.floor(value < firstMilliseconds ? value * 1000 : value) : undefined
  if (typeof value !== 'string' || !rfc3339.test(value)) return undefined
  const time = Date.parse(value)
  return Number.isNaN(time) ? undefined : time
}
