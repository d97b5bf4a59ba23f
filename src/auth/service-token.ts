import { type Publisher, scopes } from '../core/access.ts'
import type { Check } from '../core/health.ts'
import { isName } from '../core/name.ts'
import { BridgeError } from '../errors.ts'
import { checkAudience } from './claim-checks.ts'
import { claimAt } from './claims.ts'
import type { IssuerOptions } from './issuer.ts'
import type { KeyWatching } from './issuer-keys.ts'
import { Issuers } from './issuers.ts'
import type { Members } from './jws.ts'
import { roomTokenAudience } from './room-token.ts'
import { defaultTiming } from './tokens.ts'

export interface ServiceTokenOptions extends Pick<IssuerOptions, 'keys' | 'algorithms' | 'clockToleranceMs'> {
  /** What `iss` must be; absent: unchecked. */
  readonly issuer?: string
  /** What `aud` must hold. Login tokens never do: it is reserved there. */
  readonly audience: string
  /** The claim that holds the scopes, as a text with spaces or as a list. */
  readonly scopeClaim: string
}

/** From tokens of services to who may use the ingress, and for what. */
export interface ServiceTokenVerifier {
  /** @throws BridgeError a `token_…` code; unavailable while the keys are not known */
  verify(token: string): Promise<Publisher>
  checks(): readonly Check[]
  start(): void
  close(): void
}

/** Reads key files at once. @throws BridgeError invalid_config */
export function createServiceTokenVerifier(
  { issuer, audience, scopeClaim, keys, algorithms, clockToleranceMs }: ServiceTokenOptions,
  watching: Pick<KeyWatching, 'now' | 'onFailure'>,
): ServiceTokenVerifier {
  const trusted = new Issuers(
    [
      {
        keys,
        algorithms,
        clockToleranceMs,
        name: 'services',
        issuers: issuer === undefined ? [] : [issuer],
        audiences: [audience],
        authorizedParties: [],
        types: [],
        requiredClaims: [],
        requireExp: true,
        numericStringDates: false,
        userClaims: [],
        roomsClaim: '',
        roomTemplates: [],
      },
    ],
    { ...watching, fetch: globalThis.fetch, timing: defaultTiming },
  )
  return {
    async verify(token) {
      const verified = await trusted.verify(token)
      checkAudience(verified.claims, verified.issuer, [roomTokenAudience])
      return { name: nameOf(verified.claims), scopes: scopes.filter((scope) => scopesOf(claimAt(verified.claims, scopeClaim)).includes(scope)) }
    },
    checks: () => trusted.checks(),
    start: () => trusted.start(),
    close: () => trusted.close(),
  }
}

/** RFC 9068: `sub` is the client where no user is involved. */
function nameOf({ sub, client_id: client }: Members): string {
  const name = sub ?? client
  if (typeof name === 'string' && isName(name)) return name
  throw new BridgeError('token_claims', 'the service token does not say whose it is: neither sub nor client_id is a name')
}

/** RFC 6749 3.3: a text with spaces; others send lists. */
function scopesOf(claim: unknown): readonly unknown[] {
  return typeof claim === 'string' ? claim.split(' ') : Array.isArray(claim) ? claim : []
}
