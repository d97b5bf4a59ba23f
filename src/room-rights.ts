import type { RoomAuthorization, RoomAuthorizer } from './core/room-authorizer.ts'
import type { Session } from './core/session.ts'
import { BridgeError } from './errors.ts'

/** What a room token says. Milliseconds since 1970. */
interface RoomToken {
  readonly user: string
  readonly room: string
  readonly issuedAt?: number
  readonly until: number
}

/** Who can open a room that the login does not open. */
export interface RoomOpeners {
  /** By the keys that verify logins. */
  readonly verifyRoomToken?: (token: string) => Promise<RoomToken>
  /** By the application itself. */
  readonly ask?: (session: Session, room: string) => Promise<RoomAuthorization>
  /** How far the clocks of whoever signs room tokens and of the bridge may differ. */
  readonly clockToleranceMs: number
}

/** A room token that is shown decides alone; without one the application is asked; without that it is a no. */
export function createRoomAuthorizer({ verifyRoomToken, ask, clockToleranceMs }: RoomOpeners): RoomAuthorizer {
  return {
    async authorize(session, room, roomToken) {
      if (roomToken === undefined) {
        if (ask === undefined) throw new BridgeError('room_forbidden')
        return ask(session, room)
      }
      if (verifyRoomToken === undefined) throw new BridgeError('token_signature', 'no key is configured that could verify a room token')
      const token = await verifyRoomToken(roomToken)
      if (token.user !== session.identity.user) throw new BridgeError('room_forbidden', 'the room token is for another user')
      if (token.room !== room) throw new BridgeError('room_forbidden', 'the room token is for another room')
      // One that does not say when it was issued is older than any removal.
      return { until: token.until + clockToleranceMs, givenAt: token.issuedAt ?? 0 }
    },
  }
}
