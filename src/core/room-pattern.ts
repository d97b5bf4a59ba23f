/** A grant for rooms: a name in which a segment may be `*` (one segment) or, at the end, `**` (one or more). Segments end at `:`, `.` or `/`. */
export type RoomPattern = readonly string[]

const separator = /([:./])/

/** The pattern, or undefined when a `*` is only a part of a segment or `**` is not at the end: such a grant would promise what it does not do. */
export function parseRoomPattern(text: string): RoomPattern | undefined {
  const parts = text.split(separator)
  const valid = parts.every((part, index) => !part.includes('*') || part === '*' || (part === '**' && index === parts.length - 1))
  return valid ? parts : undefined
}

/** Linear in the name, whatever the pattern: no regular expression is made from a claim. */
export function matchesRoom(pattern: RoomPattern, room: string): boolean {
  const parts = room.split(separator)
  for (const [index, wanted] of pattern.entries()) {
    const part = parts[index]
    // An empty segment is nobody's: `order:*` is not a grant for `order:`.
    if (part === undefined || part === '') return false
    if (wanted === '**') return true
    if (wanted !== '*' && wanted !== part) return false
  }
  return parts.length === pattern.length
}
