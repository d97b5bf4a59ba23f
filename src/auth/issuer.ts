import type { ClaimOptions } from './claims.ts'
import type { TokenAlgorithm, VerifyKey } from './keys.ts'

/** Where keys come from. */
export type KeyOrigin =
  | { readonly kind: 'fixed'; readonly keys: readonly VerifyKey[] }
  /** Watched; `parse` throws BridgeError invalid_config with the cure. The last good content is kept. */
  | { readonly kind: 'file'; readonly path: string; readonly parse: (text: string) => readonly VerifyKey[] }
  | { readonly kind: 'jwks'; readonly url: string }
  | { readonly kind: 'oidc'; readonly issuer: string }

/** One issuer of tokens: its keys, which verify its tokens and nobody else's, and what its tokens must say. */
export interface IssuerOptions extends ClaimOptions {
  /** For logs, metrics and readiness: 'login' or the name in the configuration file. */
  readonly name: string
  readonly keys: readonly KeyOrigin[]
  /** Empty: all that the keys allow. */
  readonly algorithms: readonly TokenAlgorithm[]
  /**
   * What `iss` may be: exact, or a prefix when it ends with `*`. Empty: the issuer that keys are discovered from, else anything, also nothing. With several
   * issuers at most one may take anything: it gets the tokens whose `iss` no other claims.
   */
  readonly issuers: readonly string[]
  /** Any one of them in `aud` suffices. Empty: unchecked. */
  readonly audiences: readonly string[]
  /** What `azp` may be, or `client_id` when `azp` is absent. Empty: unchecked. */
  readonly authorizedParties: readonly string[]
  /** What the header `typ` may be: case does not count, nor does a leading `application/` (RFC 8725 3.11). Empty: unchecked. */
  readonly types: readonly string[]
  /** Claims by their path that must be there, e.g. `token_use=access`; the value after `=` is optional. */
  readonly requiredClaims: readonly string[]
  readonly requireExp: boolean
  /** A token whose `exp - iat` is beyond it is refused, and one that lacks either. */
  readonly maxLifeMs?: number
  /** Whether `exp`, `nbf` and `iat` may be texts of digits. */
  readonly numericStringDates: boolean
}
