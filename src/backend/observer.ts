/** What is asked: may this session be in this room; who is behind these credentials; is this token good. */
export type CallKind = 'rooms' | 'connect' | 'introspection'

/** Told what came of asking the application. */
export interface BackendObserver {
  answered(kind: CallKind, outcome: 'allowed' | 'denied', seconds: number): void
  /** There was no answer, or none that can be used, which counts as a no. `reason`: for the operator. */
  failed(kind: CallKind, reason: string, seconds: number): void
  /** An answer of a moment ago was used again, or one that was under way served one more. */
  answeredFromCache(kind: CallKind): void
}
