import type { ConfigSources } from '../config/sources.ts'
import type { Entry } from '../core/entry.ts'
import type { Appended } from '../core/event-log.ts'
import type { Check } from '../core/health.ts'
import type { PresenceChange } from '../core/peers.ts'
import type { ErrorCode } from '../errors.ts'
import type { LogShare } from '../log/shared.ts'
import type { MetricsSnapshot } from '../metrics/process-metrics.ts'

// What the parent and its workers say to each other. Both are always of one version: the parent starts them from its own files.

/** The first thing that a worker is told. */
export interface WorkerStart {
  readonly number: number
  /** Where the parent has its configuration from; the environment is inherited. */
  readonly sources: Omit<ConfigSources, 'env'>
  readonly share: LogShare
}

export type ToWorker =
  | { readonly kind: 'appended'; readonly request: number; readonly appended: readonly Appended[] }
  | { readonly kind: 'not-appended'; readonly request: number; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: 'caught-up'; readonly request: number; readonly caughtUp: boolean }
  | { readonly kind: 'presence'; readonly node: string; readonly changes: readonly PresenceChange[] }
  | { readonly kind: 'gone'; readonly node: string }
  /** Another one has begun: what comes from now on is of its offsets. */
  | { readonly kind: 'runs'; readonly runs: LogShare['runs'] }
  | { readonly kind: 'metrics' }
  /** Once a second. */
  | { readonly kind: 'beat' }
  /** Closes the sessions over a period; answered with `drained`. */
  | { readonly kind: 'drain'; readonly periodMs: number }
  /** Ends the process. */
  | { readonly kind: 'stop' }

export type ToParent =
  | { readonly kind: 'ready' }
  | { readonly kind: 'append'; readonly request: number; readonly entries: readonly Entry[] }
  /** See `EventLog.catchUp`; answered with `caught-up`. */
  | { readonly kind: 'catch-up'; readonly request: number; readonly offset: string }
  | { readonly kind: 'presence'; readonly changes: readonly PresenceChange[] }
  | { readonly kind: 'metrics'; readonly metrics: MetricsSnapshot }
  /** Answers a beat. `connections`: how many there are. `eventLoop`: whether it is held up. */
  | { readonly kind: 'beat'; readonly connections: number; readonly eventLoop: Check }
  /** Whether so much waits for its slow clients that publishers should be refused; told when it changes. */
  | { readonly kind: 'pressure'; readonly overloaded: boolean }
  /** The connection that was handed over first of those that were not taken yet. */
  | { readonly kind: 'taken' }
  | { readonly kind: 'drained' }

/** What goes with a connection that is handed to a worker: what its client has sent already, a character a byte. */
export interface HandedConnection {
  readonly head: string
}
