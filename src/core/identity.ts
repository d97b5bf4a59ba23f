import type { RoomPattern } from './room-pattern.ts'

/** Who a session belongs to, and what its login token allows. Made by auth/, trusted by all others. */
export interface Identity {
  readonly user: string
  /** Rooms that the token names exactly: joined at connect. */
  readonly rooms: readonly string[]
  /** Rooms that may be joined on request, besides `rooms`. */
  readonly grants: readonly RoomPattern[]
  /** The earliest moment at which the token can have been issued, the difference of the clocks allowed for. Milliseconds since 1970; absent when the token does not say. */
  readonly issuedAt?: number
  /** `iat` as the token says it, in milliseconds since 1970. */
  readonly iat?: number
  /** The id of the token, and of the login that it comes from (OpenID Connect's `sid`): what a revocation may name. */
  readonly jti?: string
  readonly sid?: string
  /** Milliseconds since 1970; absent when the token does not expire. */
  readonly expiresAt?: number
}
