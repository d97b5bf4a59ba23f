import type { PresenceChange } from '../core/peers.ts'

/** Of what is written here. One that only adds kinds of messages, kinds of changes or fields is the next; all of those may be passed over. */
const version = 1
/** The oldest version that takes what is written here for what it means. */
const readableFrom = 1

/** What one node writes into the stream. `number` grows by one with each. */
export type Message = { readonly node: string; readonly number: number } & (
  | { readonly kind: 'changes'; readonly changes: readonly PresenceChange[] }
  /** Whoever reads it tells all anew. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'beat' }
  | { readonly kind: 'bye' }
)

/** What was read of one. */
export type Heard =
  | Message
  /** Of a later version, with nothing that this one would have to know. */
  | { readonly node: string; readonly number: number; readonly kind: 'other' }
  /** Of a later version that this one would take for something else. */
  | { readonly node: string; readonly number: number; readonly kind: 'unreadable' }

export function writeMessage(message: Message): string {
  return JSON.stringify({ version, readableFrom, ...message })
}

/** Entries of a stream as Redis gives them: id and fields; undefined where a message is none of ours. */
export function readMessages(reply: unknown): readonly { readonly id: string; readonly message: Heard | undefined }[] {
  if (!Array.isArray(reply)) return []
  return reply.map((entry: unknown) => {
    const [id, fields] = Array.isArray(entry) ? entry : []
    return { id: String(id), message: parse(Array.isArray(fields) ? String(fields[1]) : '') }
  })
}

const kindsOfChanges: Readonly<Record<PresenceChange['kind'], true>> = {
  opened: true,
  rooms: true,
  details: true,
  closed: true,
  'all-begin': true,
  'all-end': true,
}

function parse(text: string): Heard | undefined {
  try {
    // Only nodes of ours write here; what is not even JSON is not from one.
    const message: Message & { readonly readableFrom?: number } = JSON.parse(text)
    if (typeof message !== 'object' || message === null || typeof message.node !== 'string') return undefined
    const { node, number, readableFrom: from = 1 } = message
    if (from > version) return { node, number, kind: 'unreadable' }
    switch (message.kind) {
      case 'changes':
        return { node, number, kind: 'changes', changes: message.changes.filter(({ kind }) => Object.hasOwn(kindsOfChanges, kind)) }
      case 'hello':
      case 'beat':
      case 'bye':
        return { node, number, kind: message.kind }
      default:
        message satisfies never
        return { node, number, kind: 'other' }
    }
  } catch {
    return undefined
  }
}
