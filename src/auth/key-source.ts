import type { WatchedFile } from '../files/watched-file.ts'
import type { VerifyKey } from './keys.ts'

/** One place that keys of an issuer come from. */
export interface KeySource {
  /** As they are known now. */
  readonly keys: readonly VerifyKey[]
  /** Why it has none, for readiness and the log; absent when it has. */
  readonly failure?: string | undefined
  /** When they were fetched, in milliseconds since 1970; absent when they never were, or do not come over the net. */
  readonly fetchedAt?: number | undefined
  /** Begins to watch for changes. */
  start(): void
  close(): void
  /** Resolves when the keys are as fresh as they may be now, with whether something was fetched for it: false at once unless a fetch is allowed. Never rejects. */
  refresh(): Promise<boolean>
}

const never = async (): Promise<boolean> => false

/** Keys that stay as they are. */
export const fixedKeys = (keys: readonly VerifyKey[]): KeySource => ({ keys, start: () => {}, close: () => {}, refresh: never })

/** Keys in a file that is watched. */
export const fileKeys = (file: WatchedFile<readonly VerifyKey[]>): KeySource => ({
  get keys() {
    return file.value
  },
  start: () => file.start(),
  close: () => file.close(),
  refresh: never,
})
