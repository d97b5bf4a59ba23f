/** Whom an event is for: the union of what is named. */
export interface Target {
  readonly users: readonly string[]
  readonly rooms: readonly string[]
  readonly sessions: readonly string[]
  readonly all: boolean
}

/** Who does not get it although the target names them. */
export interface Except {
  readonly users: readonly string[]
  readonly sessions: readonly string[]
}

/** The address under which the log finds an entry again. */
export type Stream = `user:${string}` | `room:${string}` | `session:${string}` | 'all' | `changes:${string}`

export const userStream = (user: string): Stream => `user:${user}`
export const roomStream = (room: string): Stream => `room:${room}`
export const sessionStream = (session: string): Stream => `session:${session}`

/** Each once. */
export function toStreams(target: Target): readonly Stream[] {
  if (target.all) return ['all']
  const { users, rooms, sessions } = target
  const streams = [...users.map(userStream), ...rooms.map(roomStream), ...sessions.map(sessionStream)]
  return streams.length > 1 ? [...new Set(streams)] : streams
}
