// A position is a time and a number in it, so that positions given out by a server that has lost the newest data are never those that were lost:
// 4096 for each millisecond since 2024, safe integers until 2093.
const originMs = Date.UTC(2024, 0, 1)
const perMs = 4096

/** What the scripts have to know of it. */
export const placesInLua = `
local function format(number) return string.format('%.0f', number) end
local function timeOf(position) return ${originMs} + math.floor(position / ${perMs}) end
local function firstAt(time) return (time - ${originMs}) * ${perMs} end
local function toId(position) return format(timeOf(position)) .. '-' .. format(position % ${perMs}) end
local function toPosition(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return math.max(0, firstAt(tonumber(ms)) + tonumber(number))
end
`

/** The id in the stream. Position 0 lies before all entries. */
export function toStreamId(position: number): string {
  return position === 0 ? '0-0' : `${timeOf(position)}-${position % perMs}`
}

export function toPosition(streamId: string): number {
  const [ms, number] = streamId.split('-').map(Number)
  return Math.max(0, ((ms ?? 0) - originMs) * perMs + (number ?? 0))
}

/** Milliseconds since 1970. */
export function timeOf(position: number): number {
  return originMs + Math.floor(position / perMs)
}
