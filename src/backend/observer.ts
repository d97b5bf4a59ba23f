/** What is asked: may this session be in this room; who is behind these credentials; is this token good. */
export type CallKind = 'rooms' | 'connect' | 'introspection'

/** Told in numbers what came of asking. */
export interface BackendObserver {
  /** `failed`: there was no answer, or none that can be used, which counts as a no. */
  asked(kind: CallKind, outcome: 'allowed' | 'denied' | 'failed', seconds: number): void
  /** An answer of a moment ago was used again, or one that was under way served one more. */
  answeredFromCache(kind: CallKind): void
}

/** Told in words what an operator should know; each time, so that it is the journal that decides what is worth a line. */
export interface BackendJournal {
  failed(kind: CallKind, reason: string): void
  /** It is taken for a no, but a wrong address would be answered in the same way. */
  doubted(kind: CallKind, reason: string): void
  answered(kind: CallKind, outcome: 'allowed' | 'denied'): void
}
