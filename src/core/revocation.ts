import { hash } from 'node:crypto'
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
  /** In force until then. No token that it concerns is taken after it, the tolerance of clocks included, so it can be forgotten. Milliseconds since 1970. */
  readonly expiresAt: number
}

/** What a token says of itself that a revocation may name. */
export type TokenMarks = Pick<Identity, 'iat' | 'jti' | 'sid'>

/** A token, as far as it matters to a revocation. */
export type MarkedToken = TokenMarks & Pick<Identity, 'user'>

/** Whose tokens a revocation names, whenever they were issued. */
type Named = Pick<Revocation, 'user' | 'jti' | 'sid'>

/** With its place in the log, and when it was stored. */
interface StoredRevocation {
  readonly position: number
  readonly time: number
  readonly revocation: Revocation
}

export function revocationId({ user, jti, sid }: Named): string {
  return hash('sha256', JSON.stringify([user ?? null, jti ?? null, sid ?? null]), 'base64url').slice(0, 16)
}

function isNamed({ user, jti, sid }: MarkedToken, named: Named): boolean {
  if (named.user !== undefined && named.user !== user) return false
  if (named.jti !== undefined && named.jti !== jti) return false
  return named.sid === undefined || named.sid === sid
}

export function isRevoked(token: MarkedToken, revocation: Revocation): boolean {
  if (!isNamed(token, revocation)) return false
  return revocation.issuedBefore === undefined || token.iat === undefined || token.iat < revocation.issuedBefore
}

/** Whether a session ends with a revocation. One that was there when it was stored has an older token, whatever the clock of the issuer made of `iat`. */
export function endsSession(token: MarkedToken, attachedAt: number, { position, time, revocation }: StoredRevocation): boolean {
  const concernsAllUntilNow = revocation.issuedBefore !== undefined && revocation.issuedBefore >= time
  if (concernsAllUntilNow && attachedAt < position) return isNamed(token, revocation)
  return isRevoked(token, revocation)
}

/** The ids of a token, under which a revocation is found or finds its sessions; the most telling one first. */
export function tokenIds({ jti, sid }: { readonly jti?: string | undefined; readonly sid?: string | undefined }): readonly string[] {
  return [...(jti === undefined ? [] : [`jti:${jti}`]), ...(sid === undefined ? [] : [`sid:${sid}`])]
}

/** What stands after `next` has taken the place of `standing`, which has the same id, at `time`: what was refused stays refused. */
export function replaceRevocation(standing: Revocation, next: Revocation, time: number): Revocation {
  if (standing.expiresAt <= time) return next
  const { issuedBefore: one, ...rest } = next
  const { issuedBefore: other } = standing
  const expiresAt = Math.max(standing.expiresAt, next.expiresAt)
  // Without a bound it concerns all such tokens.
  return { ...rest, expiresAt, ...(one === undefined || other === undefined ? {} : { issuedBefore: Math.max(one, other) }) }
}

/** Whether a lifting, which may be only for what has expired by then, concerns the one that stands. */
export function lifts({ expiredBy }: { readonly expiredBy?: number }, standing: Revocation | undefined): boolean {
  return standing !== undefined && (expiredBy === undefined || standing.expiresAt <= expiredBy)
}
