import type { Forwarded } from './session.ts'

/** What a connection shows of who it is. Nobody keeps it once that is known. */
export interface Credentials {
  /** The login token, from the first of the configured places that has one; absent: there is none. */
  readonly token?: string
  /** Headers for the application that decides on this login: only those that are configured; else empty. */
  readonly forwarded: Forwarded
  /** Where the client is, trusted proxies left out. */
  readonly address: string
}
