/** A place in the log as clients see it: `<run>-<position>`. Opaque to them. The run is the one that gave out the position. */
export function formatOffset(run: string, position: number): string {
  return `${run}-${position}`
}

/** Undefined when the text has not the form of an offset. Whose offset it is, the log knows. */
export function parseOffset(text: string): { readonly run: string; readonly position: number } | undefined {
  const dash = text.indexOf('-')
  const digits = text.slice(dash + 1)
  // One spelling per position: no signs, leading zeros, exponents or digits beyond 2^53.
  if (dash < 1 || !/^(0|[1-9]\d{0,15})$/.test(digits)) return undefined
  const position = Number(digits)
  return Number.isSafeInteger(position) ? { run: text.slice(0, dash), position } : undefined
}
