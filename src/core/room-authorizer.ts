import type { Session } from './session.ts'

/** A right to one room that the login token does not give. Times in milliseconds since 1970. */
export interface RoomAuthorization {
  /** Absent: as long as the session, with its resumes. */
  readonly until?: number
  /** When it was given; one that is older than the removal of its user from the room does not undo it. */
  readonly givenAt: number
}

/** Decides on a room that the login token does not open. `roomToken`: what the client has shown for it. */
export interface RoomAuthorizer {
  /** @throws BridgeError room_forbidden; a `token_…` code for a room token that is not good; unavailable when nobody can say: that is a no */
  authorize(session: Session, room: string, roomToken: string | undefined): Promise<RoomAuthorization>
}
