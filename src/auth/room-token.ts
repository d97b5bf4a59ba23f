import { toName } from '../core/name.ts'
import { BridgeError } from '../errors.ts'
import { audiencesOf } from './claim-checks.ts'
import { toIdentity } from './claims.ts'
import type { Verified } from './issuers.ts'
import { quote } from './jws.ts'

/** The audience of room tokens. They are no logins, whoever signed them. */
export const roomTokenAudience = 'sidecast:room'

/** The right of one user to one room. Times in milliseconds since 1970. */
export interface RoomToken {
  readonly user: string
  readonly room: string
  /** The earliest moment at which it can have been issued, the difference of the clocks allowed for; absent when it does not say. */
  readonly issuedAt?: number
  readonly until: number
}

/** From a verified token to the right that it gives. @throws BridgeError token_audience, token_claims */
export function toRoomToken({ issuer, claims }: Verified): RoomToken {
  // Tokens for anything else that happen to have a claim `room` open no rooms.
  if (!audiencesOf(claims).includes(roomTokenAudience))
    throw new BridgeError('token_audience', `the audience is ${quote(claims.aud)}; that of a room token is ${roomTokenAudience}`)
  if (claims.exp === undefined) throw new BridgeError('token_claims', 'the room token has no exp')
  const room = toName(claims.room)
  if (room === undefined || room.includes('*'))
    throw new BridgeError('token_claims', `the claim room is ${quote(claims.room)}, which is not the name of one room`)
  const userClaims = [...new Set([...issuer.userClaims, 'sub'])]
  const { user, issuedAt } = toIdentity(claims, { ...issuer, userClaims, roomsClaim: '', roomTemplates: [] })
  return { user, room, until: Math.floor(Number(claims.exp) * 1000), ...(issuedAt === undefined ? {} : { issuedAt }) }
}
