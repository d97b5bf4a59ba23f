import type { Placed } from './place.ts'

/** What the log is at one commit. Written in the transaction that changes it, so it is never ahead of or behind the entries. */
export interface State {
  /** The position of the newest entry. */
  readonly head: number
  /** The time of the newest entry. */
  readonly time: number
  /** The position of the oldest entry that is kept. */
  readonly first: number
  /** How many entries can be read again. */
  readonly kept: number
}

export const emptyState: State = { head: 0, time: 0, first: 1, kept: 0 }

/** With entries behind it. */
export function stateAfter(before: State, placed: readonly Placed[]): State {
  const { position: head, time } = placed.at(-1)?.stored ?? { position: before.head, time: before.time }
  return { ...before, head, time, kept: before.kept + placed.filter(({ streams }) => streams.length > 0).length }
}

export function encodeState(state: State): Buffer {
  const bytes = Buffer.allocUnsafe(32)
  bytes.writeDoubleBE(state.head, 0)
  bytes.writeDoubleBE(state.time, 8)
  bytes.writeDoubleBE(state.first, 16)
  bytes.writeDoubleBE(state.kept, 24)
  return bytes
}

export function decodeState(bytes: Buffer): State {
  return { head: bytes.readDoubleBE(0), time: bytes.readDoubleBE(8), first: bytes.readDoubleBE(16), kept: bytes.readDoubleBE(24) }
}
