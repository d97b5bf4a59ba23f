import type { PresenceChange } from '../core/peers.ts'

/** What one node writes into the stream. `number` grows by one with each. */
export type Message = { readonly node: string; readonly number: number } & (
  | { readonly kind: 'changes'; readonly changes: readonly PresenceChange[] }
  /** Whoever reads it tells all anew. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'beat' }
  | { readonly kind: 'bye' }
)

/** Entries of a stream as Redis gives them: id and fields; undefined where a message is none of ours. */
export function readMessages(reply: unknown): readonly { readonly id: string; readonly message: Message | undefined }[] {
  if (!Array.isArray(reply)) return []
  return reply.map((entry: unknown) => {
    const [id, fields] = Array.isArray(entry) ? entry : []
    return { id: String(id), message: parse(Array.isArray(fields) ? String(fields[1]) : '') }
  })
}

function parse(text: string): Message | undefined {
  try {
    // Only nodes of ours write here; what is not even JSON is not from one.
    const message: Message = JSON.parse(text)
    return typeof message === 'object' && message !== null && typeof message.node === 'string' ? message : undefined
  } catch {
    return undefined
  }
}
