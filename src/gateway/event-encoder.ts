import type { EventEntry, Stored } from '../core/entry.ts'
import { encodeFrame, type Frame } from './frame.ts'

/** From events to their frames: the same array for the same events, which sessions that get them share. `offsetOf`: a position as clients see it. */
export function createEventEncoder(offsetOf: (position: number) => string): (events: readonly Stored<EventEntry>[]) => readonly Frame[] {
  /** A fan-out sends the same ones to many sessions in a row. */
  let last: { readonly events: readonly Stored<EventEntry>[]; readonly frames: readonly Frame[] } | undefined
  /** Of events that somebody holds: the log hands the same ones to all who have missed them. */
  const known = new WeakMap<Stored<EventEntry>, readonly Frame[]>()

  return (events) => {
    if (last?.events !== events) {
      const [first = [], ...others] = events.map(encodeOne)
      last = { events, frames: others.length === 0 ? first : [...first, ...others.flat()] }
    }
    return last.frames
  }

  function encodeOne(event: Stored<EventEntry>): readonly Frame[] {
    let frames = known.get(event)
    if (frames === undefined) {
      frames = [encodeFrame(event.entry.event, event.entry.data, offsetOf(event.position))]
      known.set(event, frames)
    }
    return frames
  }
}
