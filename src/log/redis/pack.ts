// Several events in one entry of the stream: one call for Redis, one text to read. Of each its length, as 4 bytes, big-endian, and its body. Their positions are
// consecutive; the id of the entry is the last of them, so that it is kept, and read, for as long as any of them has to be.

const lengthBytes = 4

/** What one of them may hold, so that readings by number stay bounded too. */
export const maxPackEvents = 32
export const maxPackBytes = 2 ** 13

/** Never of none. */
export function pack(bodies: readonly Buffer[]): Buffer {
  const packed = Buffer.allocUnsafe(bodies.reduce((sum, { length }) => sum + lengthBytes + length, 0))
  let at = 0
  for (const body of bodies) {
    at = packed.writeUInt32BE(body.length, at)
    at += body.copy(packed, at)
  }
  return packed
}

/** @throws RangeError when it was cut off */
export function unpack(packed: Buffer): readonly Buffer[] {
  const bodies: Buffer[] = []
  for (let at = 0; at < packed.length; ) {
    const start = at + lengthBytes
    const end = start + packed.readUInt32BE(at)
    if (end > packed.length) throw new RangeError('a pack of events is cut off')
    bodies.push(packed.subarray(start, end))
    at = end
  }
  return bodies
}
