import type { BridgeError } from '../errors.ts'
import { claimCures } from './claim-cures.ts'
import { formCure } from './form-cures.ts'
import { foreignCure, signatureCures } from './signature-cures.ts'
import type { Findings } from './token-checks.ts'
import type { Rule } from './token-rules.ts'

/** What to do about a refusal, for whoever runs the bridge. Never empty. */
export function cureOf({ id }: Rule, refused: readonly BridgeError[], findings: Findings): readonly string[] {
  const { jws, issuer, token, signers } = findings
  const claims = jws?.claims ?? {}
  switch (id) {
    case 'form':
      return [formCure(token, refused.map(({ message }) => message).join('; '))]
    case 'issuer':
      return [signers.length > 0 ? foreignCure(findings) : issuerCure(claims.iss)]
    case 'keys':
      return keyCures(findings)
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
      return issuer === undefined ? [] : claimCures(claims, issuer)
    default:
      return id satisfies never
  }
}

function issuerCure(iss: unknown): string {
  const setting = 'SIDECAST_JWT_ISSUER'
  return typeof iss === 'string'
    ? `set ${setting} to the iss of your tokens; where it changes (tymon/jwt-auth puts the address of the login request there) leave it out, or end it with /*`
    : `${iss === undefined ? 'the token has no iss' : 'its iss is no text'}: let the application write the one that is configured, or leave ${setting} out`
}

function keyCures(findings: Findings): readonly string[] {
  const failures = findings.keys.flatMap(({ failure = [] }) => failure)
  return failures.length > 0
    ? [
        ...failures,
        'open the address from the machine of the bridge: is it right (SIDECAST_JWT_JWKS_URL, SIDECAST_JWT_OIDC_ISSUER), reachable, and trusted (NODE_EXTRA_CA_CERTS)?',
      ]
    : [
        'the keys that were fetched just now have not signed it, but it says that it is as new as they are: try again in 30 s, when the bridge fetches them again. If it is refused then too:',
        ...signatureCures(findings),
      ]
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
