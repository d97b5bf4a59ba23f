import { BridgeError } from '../errors.ts'
import { toName } from './name.ts'
import { parseRoomPattern, type RoomPattern } from './room-pattern.ts'

/** Rooms as a list names them: those to be in at once, and patterns of those that may be joined on request. */
export interface Grants {
  readonly rooms: readonly string[]
  readonly grants: readonly RoomPattern[]
}

/** From a list of names and patterns; absent: none. `where`: what the list is called, for the log. @throws BridgeError token_claims */
export function parseGrants(list: unknown, where: string): Grants {
  if (list === undefined || list === null) return { rooms: [], grants: [] }
  if (!Array.isArray(list)) throw new BridgeError('token_claims', `${where} is not a list of rooms`)
  const rooms = new Set<string>()
  const grants: RoomPattern[] = []
  for (const item of list) {
    const room = toName(item)
    const pattern = room === undefined ? undefined : parseRoomPattern(room)
    if (room === undefined || pattern === undefined)
      throw new BridgeError('token_claims', `${where} holds ${JSON.stringify(item)}, which is neither a room nor a pattern of whole segments`)
    if (room.includes('*')) grants.push(pattern)
    else rooms.add(room)
  }
  return { rooms: [...rooms], grants }
}

/** The room of all sessions of one user, which each of them is always in. */
export const userRoom = (user: string): string => `user:${user}`
