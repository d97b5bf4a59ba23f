import type { Identity } from '../core/identity.ts'
import { checkAudience, checkDates, checkKind } from './claim-checks.ts'
import { toIdentity } from './claims.ts'
import type { IssuerOptions } from './issuer.ts'
import type { Members } from './jws.ts'
import { roomTokenAudience } from './room-token.ts'

export interface IntrospectedOptions {
  /** What must be said of its tokens. */
  readonly expected: Omit<IssuerOptions, 'keys' | 'algorithms'>
  /** Audiences of tokens that are no logins, besides that of room tokens. */
  readonly reservedAudiences: readonly string[]
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * From what an authorization server says of a token that is in force (RFC 7662 2.2, by the names of JWT claims) to who it is. It need not say when the token
 * expires, and there is no header.
 * @throws BridgeError a `token_…` code
 */
export function createIntrospectedReader({ expected, reservedAudiences, now }: IntrospectedOptions): (claims: Members) => Identity {
  const issuer: IssuerOptions = { ...expected, requireExp: false, types: [], keys: [], algorithms: [] }
  return (said) => {
    const claims = checkDates(said, issuer, now())
    checkAudience(claims, issuer, [roomTokenAudience, ...reservedAudiences])
    checkKind({}, claims, issuer)
    return toIdentity(claims, issuer)
  }
}
