import type { Identity } from './identity.ts'

/** Which login tokens are worth nothing any more: those to which all of its fields apply. */
export interface Revocation {
  /** The same for the same `user`, `jti` and `sid`: a second one takes the place of the first. */
  readonly id: string
  readonly user?: string
  readonly jti?: string
  readonly sid?: string
  /** Tokens issued before this moment, or without saying when. Milliseconds since 1970. */
  readonly issuedBefore?: number
  /** No token that it concerns is valid after this moment, so it can be forgotten. Milliseconds since 1970. */
  readonly expiresAt: number
}

export function isRevoked({ user, jti, sid, iat }: Identity, revocation: Revocation): boolean {
  if (revocation.user !== undefined && revocation.user !== user) return false
  if (revocation.jti !== undefined && revocation.jti !== jti) return false
  if (revocation.sid !== undefined && revocation.sid !== sid) return false
  return revocation.issuedBefore === undefined || iat === undefined || iat < revocation.issuedBefore
}
