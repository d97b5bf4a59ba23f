import type { RoomPattern } from './room-pattern.ts'

/** Who a session belongs to, and what its login token allows. Made by auth/, trusted by all others. */
export interface Identity {
  readonly user: string
  /** Rooms that the token names exactly: joined at connect. */
  readonly rooms: readonly string[]
  /** Rooms that may be joined on request, besides `rooms`. */
  readonly grants: readonly RoomPattern[]
  /** Milliseconds since 1970; absent when the token does not say. */
  readonly issuedAt?: number
  /** Milliseconds since 1970; absent when the token does not expire. */
  readonly expiresAt?: number
}
