import type { ErrorCode } from '../errors.ts'

/** Why a session ended. */
export type SessionEnd = 'client' | 'transport' | 'expired' | 'disconnected' | 'revoked' | 'slow_consumer' | 'replaced' | 'draining' | 'protocol'

/** What a session may ask for. */
export type SessionRequest = 'join' | 'leave' | 'refresh'

/** Told what has happened. Cannot veto, cannot fail, and must be quick. */
export interface Observer {
  eventsPublished(count: number, duplicates: number): void
  eventDispatched(matched: number): void
  publishRefused(code: ErrorCode): void
  sessionOpened(): void
  sessionClosed(end: SessionEnd): void
  sessionResumed(events: number): void
  resumeRefused(reason: ResumeRefusal): void
  handshakeRefused(code: ErrorCode): void
  requestRefused(request: SessionRequest, code: ErrorCode): void
  /** A revocation came into force. */
  revoked(): void
  revocationsInForce(count: number): void
  /** Something that should not happen did, and was survived. */
  failed(error: unknown): void
}

/** Why a client that asked to resume was not resumed. `gap`: its offset is not in what is kept. `session`: the `pid` is not its own. */
export type ResumeRefusal = 'gap' | 'session'
