import type { Credentials } from './core/credentials.ts'
import type { Identity } from './core/identity.ts'
import { BridgeError } from './errors.ts'

/** Who can tell who it is; at least one of them can. */
export interface Logins {
  /** By the keys that are configured. */
  readonly verify?: (token: string) => Promise<Identity>
  /** By the authorization server. */
  readonly introspect?: (token: string) => Promise<Identity>
  /** By the application itself. */
  readonly connect?: (credentials: Credentials) => Promise<Identity>
}

/** Three parts, as a signed JWT has: only the keys decide on what looks like one. Nobody else is asked about a forged one. */
const looksLikeJws = /^[^.]+\.[^.]+\.[^.]*$/

/** The one way from what a client shows to who it is, for handshakes and refreshes alike. */
export function createLogin({ verify, introspect, connect }: Logins): (credentials: Credentials) => Promise<Identity> {
  return async (credentials) => {
    const { token } = credentials
    if (token !== undefined) {
      if (verify !== undefined && looksLikeJws.test(token)) return verify(token)
      if (introspect !== undefined) return introspect(token)
    }
    if (connect !== undefined) return connect(credentials)
    if (token === undefined || verify === undefined) throw new BridgeError('token_missing')
    // It says precisely what is wrong with the form.
    return verify(token)
  }
}
