import type { Identity } from '../core/identity.ts'

/** From what is said about a login, by the names of JWT claims, to who it is. @throws BridgeError one of the `token_…` codes */
export type ReadClaims = (claims: Readonly<Record<string, unknown>>) => Identity
