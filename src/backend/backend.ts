import { ConnectAuthorizations } from './connect-authorization.ts'
import { Introspection } from './introspection.ts'
import type { BackendJournal, BackendObserver } from './observer.ts'
import type { ReadClaims } from './read-claims.ts'
import { RoomAuthorizations } from './room-authorization.ts'

export interface BackendOptions {
  readonly connectUrl?: string
  readonly roomsUrl?: string
  readonly secret?: Uint8Array
  readonly timeoutMs: number
  readonly cacheMs: number
  readonly forward: readonly string[]
  readonly introspection?: { readonly url: string; readonly clientId: string; readonly clientSecret: string }
  /** Reads what the application, and what the authorization server, says about a login. */
  readonly readConnected: ReadClaims
  readonly readIntrospected: ReadClaims
  readonly observer: BackendObserver
  readonly journal: BackendJournal
  readonly newId: () => string
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Who is asked, as far as it is configured. */
export interface Backend {
  readonly rooms?: RoomAuthorizations
  readonly connect?: ConnectAuthorizations
  readonly introspection?: Introspection
  close(): void
}

export function createBackend(options: BackendOptions): Backend {
  const { connectUrl, roomsUrl } = options
  const rooms = roomsUrl === undefined ? undefined : new RoomAuthorizations({ ...options, url: roomsUrl, setting: 'SIDECAST_AUTHORIZE_ROOMS_URL' })
  const connect =
    connectUrl === undefined
      ? undefined
      : new ConnectAuthorizations({ ...options, url: connectUrl, setting: 'SIDECAST_AUTHORIZE_CONNECT_URL', readClaims: options.readConnected })
  const introspection =
    options.introspection &&
    new Introspection({ ...options, ...options.introspection, setting: 'SIDECAST_INTROSPECTION_URL', readClaims: options.readIntrospected })
  return {
    ...(rooms && { rooms }),
    ...(connect && { connect }),
    ...(introspection && { introspection }),
    close() {
      for (const asked of [rooms, connect, introspection]) asked?.close()
    },
  }
}
