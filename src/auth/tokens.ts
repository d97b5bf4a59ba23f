import type { Check } from '../core/health.ts'
import type { Identity } from '../core/identity.ts'
import { checkAudience, checkKind } from './claim-checks.ts'
import { toIdentity } from './claims.ts'
import type { IssuerOptions } from './issuer.ts'
import type { KeyWatching } from './issuer-keys.ts'
import { Issuers } from './issuers.ts'
import { type RoomToken, roomTokenAudience, toRoomToken } from './room-token.ts'

export interface TokenVerifierOptions {
  readonly issuers: readonly IssuerOptions[]
  /** Audiences of tokens that are no logins, besides that of room tokens. */
  readonly reservedAudiences: readonly string[]
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Told when keys could not be fetched or read again, and the last good ones stay in force. */
  readonly onFailure: (error: unknown) => void
  readonly fetch?: KeyWatching['fetch']
  readonly timing?: Partial<KeyWatching['timing']>
}

/** From tokens to what they prove. The messages of its errors say precisely why not, for the log only. */
export interface TokenVerifier {
  /** Who a login is. @throws BridgeError a `token_…` code; unavailable while the issuer's keys are not known */
  verify(token: string): Promise<Identity>
  /** Whom a room token lets into which room. @throws BridgeError as `verify` */
  verifyRoomToken(token: string): Promise<RoomToken>
  /** For readiness: whether the keys that come over the net are there. */
  checks(): readonly Check[]
  /** Begins to fetch and to watch keys. Before that keys are fetched only for tokens that need them. */
  start(): void
  close(): void
}

/** How often keys are fetched and read again. */
export const defaultTiming: KeyWatching['timing'] = {
  refreshMs: 600_000,
  retryMs: 1000,
  maxRetryMs: 60_000,
  coolDownMs: 30_000,
  timeoutMs: 5000,
  pollMs: 1000,
}

/** Reads key files at once. @throws BridgeError invalid_config */
export function createTokenVerifier({
  issuers,
  reservedAudiences,
  now,
  onFailure,
  fetch = globalThis.fetch,
  timing,
}: TokenVerifierOptions): TokenVerifier {
  const trusted = new Issuers(issuers, { fetch, now, onFailure, timing: { ...defaultTiming, ...timing } })
  const reserved = [roomTokenAudience, ...reservedAudiences]
  return {
    async verify(token) {
      const { issuer, header, claims } = await trusted.verify(token)
      checkAudience(claims, issuer, reserved)
      checkKind(header, claims, issuer)
      return toIdentity(claims, issuer)
    },
    async verifyRoomToken(token) {
      return toRoomToken(await trusted.verify(token))
    },
    checks: () => trusted.checks(),
    start: () => trusted.start(),
    close: () => trusted.close(),
  }
}
