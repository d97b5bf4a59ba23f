/** What one look has found. */
export type Finding =
  | { readonly kind: 'ok'; readonly detail: string }
  /** `cure`: what to do about it. */
  | { readonly kind: 'problem'; readonly detail: string; readonly cure: string }
  /** It could not be looked at, which is not wrong by itself. */
  | { readonly kind: 'skipped'; readonly detail: string }

export const ok = (detail: string): Finding => ({ kind: 'ok', detail })
export const problem = (detail: string, cure: string): Finding => ({ kind: 'problem', detail, cure })
export const skipped = (detail: string): Finding => ({ kind: 'skipped', detail })

/** Why a call failed: the fetch API says only "fetch failed". */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return [...new Set(error.errors.map(reasonOf))].join(', ')
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message || error.name : reasonOf(error.cause)
}
