/**
 * A place in the log as clients see it: `<epoch>-<position>`. Opaque to them.
 * The epoch changes when the log is lost, so an offset of a lost log is never mistaken for one of the new log.
 */
export function formatOffset(epoch: string, position: number): string {
  return `${epoch}-${position}`
}

/** The position, or undefined when the text is no offset of this epoch. */
export function parseOffset(epoch: string, text: string): number | undefined {
  if (!text.startsWith(`${epoch}-`)) return undefined
  const digits = text.slice(epoch.length + 1)
  // One spelling per position: no signs, leading zeros, exponents or digits beyond 2^53.
  if (!/^(0|[1-9]\d{0,15})$/.test(digits)) return undefined
  const position = Number(digits)
  return Number.isSafeInteger(position) ? position : undefined
}
