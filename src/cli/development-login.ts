import jwt from 'jsonwebtoken'
import { toIdentity } from '../auth/claims.ts'
import type { Config } from '../config/config.ts'

type Signing = NonNullable<Config['jwt']['signing']>
type Claims = Record<string, unknown>

export interface Login {
  readonly user: string
  readonly rooms: readonly string[]
  readonly lifeMs: number
}

/** A login token as the issuer would make it, with all that the configuration asks of one. @throws BridgeError token_claims for what the bridge would refuse */
export function signLogin({ issuer, secret, algorithm }: Signing, { user, rooms, lifeMs }: Login): string {
  const [iss] = issuer.issuers
  const [aud] = issuer.audiences
  const [azp] = issuer.authorizedParties
  const [typ] = issuer.types
  const [userClaim = 'sub'] = issuer.userClaims
  const issuedAt = Math.floor(Date.now() / 1000)
  const claims: Claims = {
    iat: issuedAt,
    exp: issuedAt + Math.ceil(lifeMs / 1000),
    ...(iss === undefined ? {} : { iss: iss.replace(/\*$/, 'development') }),
    ...(aud === undefined ? {} : { aud }),
    ...(azp === undefined ? {} : { azp }),
  }
  for (const required of issuer.requiredClaims) {
    const [path = '', ...value] = required.split('=')
    put(claims, path, value.length === 0 ? 'development' : value.join('='))
  }
  put(claims, userClaim, user)
  if (rooms.length > 0) put(claims, issuer.roomsClaim, rooms)
  toIdentity(claims, issuer)
  return jwt.sign(claims, secret, { algorithm, ...(typ === undefined ? {} : { header: { alg: algorithm, typ } }) })
}

/** Sets a claim by its dotted path; the names of URL-named claims are taken as a whole. */
function put(claims: Claims, path: string, value: unknown): void {
  const dot = path.includes('/') ? -1 : path.indexOf('.')
  if (dot < 0) {
    claims[path] = value
    return
  }
  const key = path.slice(0, dot)
  const inner: Claims = { ...(claims[key] as Claims | undefined) }
  put(inner, path.slice(dot + 1), value)
  claims[key] = inner
}
