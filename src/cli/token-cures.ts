import type { BridgeError } from '../errors.ts'
import { describeTries } from './known-keys.ts'
import { findOtherReading } from './other-readings.ts'
import type { Findings } from './token-checks.ts'
import type { Rule } from './token-rules.ts'

/** What to do about a refusal, for whoever runs the bridge. Never empty. */
export function cureOf({ id }: Rule, refused: readonly BridgeError[], findings: Findings): readonly string[] {
  const { jws, issuer, token, signers, keys } = findings
  const claims = jws?.claims ?? {}
  switch (id) {
    case 'form':
      return [
        /^bearer\b/i.test(token)
          ? 'leave out the word Bearer: it belongs to the HTTP header, the token begins behind it'
          : 'give the whole token as the application issued it; an encrypted one (five parts) cannot be used. An opaque token is asked about at SIDECAST_INTROSPECTION_URL',
      ]
    case 'issuer':
      return signers.length > 0
        ? [`the keys of ${signers.join(' and ')} have signed it: add this iss to that issuer`]
        : [
            'set SIDECAST_JWT_ISSUER to the iss of your tokens; where it changes (tymon/jwt-auth puts the address of the login request there) leave it out, or end it with /*',
          ]
    case 'keys':
      return [
        ...keys.flatMap(({ failure = [] }) => failure),
        'open the address from the machine of the bridge: is it right (SIDECAST_JWT_JWKS_URL, SIDECAST_JWT_OIDC_ISSUER), reachable, and trusted (NODE_EXTRA_CA_CERTS)?',
      ]
    case 'signature':
      return signatureCures(findings)
    case 'dates':
      return dateCures(claims, issuer?.requireExp === true)
    case 'expiry':
      return ['log in again for a new one; if it is new, compare the clocks of both machines (SIDECAST_JWT_CLOCK_TOLERANCE)']
    case 'not-before':
      return ['compare the clocks of both machines (SIDECAST_JWT_CLOCK_TOLERANCE)']
    case 'life':
      return [
        claims.iat === undefined
          ? 'give the tokens an iat, the moment at which they are issued; without SIDECAST_JWT_MAX_LIFE it may be missing'
          : 'let the application issue shorter tokens, or raise SIDECAST_JWT_MAX_LIFE',
      ]
    case 'audience':
      return claims.aud === undefined && claims.client_id !== undefined
        ? ['the token has no aud, as access tokens of Cognito: name its client_id in SIDECAST_JWT_AUTHORIZED_PARTY instead']
        : ['set SIDECAST_JWT_AUDIENCE to the aud of your login tokens; a room token or the token of a service is never a login']
    case 'party':
      return ['SIDECAST_JWT_AUTHORIZED_PARTY lists the clients (azp, else client_id) whose logins are accepted: add this one if it is yours']
    case 'type':
      return ['give the access token, not the ID token; or set SIDECAST_JWT_TYPE to the typ in the header of your login tokens']
    case 'required':
      return [
        claims.token_use === 'id' || claims.typ === 'ID'
          ? 'this is an ID token: let the page send the access token'
          : 'give the kind of token that has this claim, or change SIDECAST_JWT_REQUIRED_CLAIMS (a preset asks for claims as well)',
      ]
    case 'claims':
      return claimCures(refused, claims, issuer?.roomsClaim ?? 'rooms')
    default:
      return id satisfies never
  }
}

/** So many keys are told one by one. */
const maxTold = 10

function signatureCures({ jws, keys, signers, token }: Findings): readonly string[] {
  const settings = 'SIDECAST_JWT_SECRET, SIDECAST_JWT_PUBLIC_KEY, SIDECAST_JWT_JWKS_URL'
  if (jws === undefined) return [algorithmOf(token)]
  const known = keys.flatMap(({ keys: some }) => some)
  const other = findOtherReading(jws, known)
  if (other !== undefined) return [other]
  if (signers.length > 0) return [`the keys of ${signers.join(' and ')} have signed it: add its iss to that issuer`]
  const isSecret = jws.algorithm.startsWith('HS')
  const hasSecret = known.some(({ key }) => key.type === 'secret')
  if (isSecret && !hasSecret)
    return [`it is signed with a secret (${jws.algorithm}): configure that one, SIDECAST_JWT_SECRET_FILE, in the place of public keys`]
  if (!isSecret && hasSecret)
    return [
      `it is signed with a private key (${jws.algorithm}): configure its public half, SIDECAST_JWT_PUBLIC_KEY_FILE or SIDECAST_JWT_JWKS_URL, in the place of the secret`,
    ]
  return [
    ...describeTries(jws, known).slice(0, maxTold),
    isSecret
      ? 'the secret must be the one that the application signs with, and read alike: Java libraries (jjwt) decode base64, PHP libraries do not (SIDECAST_JWT_SECRET_ENCODING)'
      : `the key must be the one that the application signs with, of the same realm and environment: see ${settings} and SIDECAST_JWT_ALGORITHMS`,
  ]
}

function algorithmOf(token: string): string {
  const [header = ''] = token.split('.')
  return /"alg"\s*:\s*"none"/i.test(Buffer.from(header, 'base64url').toString())
    ? 'it is not signed at all (none): anybody could have written it'
    : 'supported are HS, RS, PS and ES with 256, 384 and 512, and EdDSA (Ed25519): let the application sign with one of them'
}

function dateCures(claims: Readonly<Record<string, unknown>>, requireExp: boolean): readonly string[] {
  const named = (['exp', 'nbf', 'iat'] as const).filter((name) => claims[name] !== undefined)
  const texts = named.filter((name) => typeof claims[name] === 'string' && /^\d+(\.\d+)?$/.test(String(claims[name])))
  const wrong = named.filter((name) => typeof claims[name] !== 'number')
  const late = named.filter((name) => typeof claims[name] === 'number' && Math.abs(Number(claims[name])) > 1e11)
  return [
    ...wrong.map((name) => `issue ${name} as a number (${name}: 1795423600, without quotes)`),
    ...(texts.length > 0 ? ['or set SIDECAST_JWT_NUMERIC_STRING_DATES=true'] : []),
    ...late.map((name) => `divide ${name} by 1000 where the token is issued`),
    ...(claims.exp === undefined && requireExp
      ? ['give the tokens an exp; SIDECAST_JWT_REQUIRE_EXP=false lets in tokens that are valid for ever']
      : []),
    ...(claims.exp === undefined && !requireExp ? ['give the tokens an exp: SIDECAST_JWT_MAX_LIFE needs one'] : []),
  ]
}

function claimCures(refused: readonly BridgeError[], claims: Readonly<Record<string, unknown>>, roomsClaim: string): readonly string[] {
  const says = (part: string): boolean => refused.some(({ message }) => message.includes(part))
  const rooms = claims[roomsClaim]
  const cures = [
    ...(says('SIDECAST_JWT_USER_CLAIM') ? ['name the claim that holds the user: SIDECAST_JWT_USER_CLAIM'] : []),
    ...(rooms !== undefined && rooms !== null && !Array.isArray(rooms)
      ? [`issue ${roomsClaim} as a list, such as ["news","order:*"], or name another claim: SIDECAST_JWT_ROOMS_CLAIM`]
      : []),
    ...(says('whole segments')
      ? ['a * stands for a whole segment between : . or / (order:*), a ** for the rest and only at the end (order:**)']
      : []),
  ]
  return cures.length === 0 ? ['name the claims that your tokens have: SIDECAST_JWT_USER_CLAIM, SIDECAST_JWT_ROOMS_CLAIM'] : cures
}
