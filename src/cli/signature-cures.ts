import { maxTries } from '../auth/issuer-keys.ts'
import { patternsOf } from '../auth/issuers.ts'
import { isSignedBy, type Jws, quote } from '../auth/jws.ts'
import type { TokenAlgorithm, VerifyKey } from '../auth/keys.ts'
import { describeTries } from './known-keys.ts'
import { findOtherReading } from './other-readings.ts'
import type { Findings } from './token-checks.ts'

/** So many keys are told one by one. */
const maxTold = 10

/** What to do about a signature that counts for nothing: its algorithm first, then its key. */
export function signatureCures(findings: Findings): readonly string[] {
  const { jws, issuer, keys, token } = findings
  if (jws === undefined) return [algorithmOf(token)]
  const known = keys.flatMap(({ keys: some }) => some)
  const accepted = issuer?.algorithms ?? []
  const isAccepted = accepted.length === 0 || accepted.includes(jws.algorithm)
  const signer = known.find(({ key }) => isSignedBy(jws, key))
  return [
    ...(isAccepted ? [] : [listCure(jws.algorithm, accepted, known)]),
    ...(signer === undefined ? keyCures(jws, known, findings) : signerCures(signer, jws, isAccepted)),
  ]
}

function algorithmOf(token: string): string {
  const [header = ''] = token.split('.')
  return /"alg"\s*:\s*"none"/i.test(Buffer.from(header, 'base64url').toString())
    ? 'it is not signed at all (none): anybody could have written it'
    : 'supported are HS, RS, PS and ES with 256, 384 and 512, and EdDSA (Ed25519): let the application sign with one of them'
}

/** To accept what no key verifies would be refused when the bridge starts. */
function listCure(algorithm: TokenAlgorithm, accepted: readonly TokenAlgorithm[], known: readonly VerifyKey[]): string {
  const cause = `${algorithm} is not among the algorithms that are accepted, ${accepted.join(', ')} (SIDECAST_JWT_ALGORITHMS, else those of the preset)`
  return known.some(({ algorithms }) => algorithms.includes(algorithm))
    ? `${cause}: if your application means to sign with it, set SIDECAST_JWT_ALGORITHMS=${[...accepted, algorithm].join(',')}`
    : `${cause}, and no configured key is for it`
}

/** A configured key has signed it: why that is not enough. */
function signerCures({ kid, algorithms }: VerifyKey, jws: Jws, isAccepted: boolean): readonly string[] {
  const name = `the key${kid === undefined ? '' : ` ${quote(kid)}`} has signed it`
  const isFor = algorithms.includes(jws.algorithm)
  const isNamed = jws.kid === undefined || kid === undefined || jws.kid === kid
  return [
    ...(isFor ? [] : [`${name}, but is for ${algorithms.join(', ')}: let the application sign with that, or correct the alg of the key in the JWKS`]),
    ...(isNamed ? [] : [`${name}, but the token names the kid ${quote(jws.kid)}: give both the same one`]),
    ...(isAccepted && isFor && isNamed
      ? [`${name}, but only the first ${maxTries} keys are tried: give keys and tokens a kid each, or take old keys out`]
      : []),
  ]
}

/** No configured key has signed it. */
function keyCures(jws: Jws, known: readonly VerifyKey[], findings: Findings): readonly string[] {
  const { algorithm } = jws
  const length = lengthCure(jws, known)
  if (length !== undefined) return [length]
  const other = findOtherReading(jws, known)
  if (other !== undefined) return [other]
  if (findings.signers.length > 0) return [foreignCure(findings)]
  const isSecret = algorithm.startsWith('HS')
  const hasSecret = known.some(({ key }) => key.type === 'secret')
  if (isSecret && !hasSecret)
    return [`it is signed with a secret (${algorithm}): configure that one, SIDECAST_JWT_SECRET_FILE, in the place of public keys`]
  if (!isSecret && hasSecret)
    return [
      `it is signed with a private key (${algorithm}): configure its public half, SIDECAST_JWT_PUBLIC_KEY_FILE or SIDECAST_JWT_JWKS_URL, in the place of the secret`,
    ]
  return [
    ...findings.keys.flatMap(({ failure = [] }) => failure),
    ...describeTries(jws, known).slice(0, maxTold),
    isSecret
      ? 'the secret must be the one that the application signs with, and read alike: Java libraries (jjwt) decode base64, PHP libraries do not (SIDECAST_JWT_SECRET_ENCODING)'
      : 'the key must be the one that the application signs with, of the same realm and environment: see SIDECAST_JWT_PUBLIC_KEY, SIDECAST_JWT_JWKS_URL',
  ]
}

const lengths: Readonly<Partial<Record<TokenAlgorithm, number>>> = {
  HS256: 32,
  HS384: 48,
  HS512: 64,
  ES256: 64,
  ES384: 96,
  ES512: 132,
  EdDSA: 64,
  Ed25519: 64,
}

/** What the length of a signature gives away; undefined when it is as it should be. */
function lengthCure({ algorithm, signature }: Jws, known: readonly VerifyKey[]): string | undefined {
  const { length } = signature
  if (length === 0) return 'its signature is missing: behind the second dot there is nothing; copy the whole token again'
  const usual = lengths[algorithm]
  if (usual === undefined) {
    const bits = known.flatMap(({ key }) => key.asymmetricKeyDetails?.modulusLength ?? [])
    // RSA keys have a round number of bits.
    if (length % 64 !== 0 && !bits.includes(length * 8))
      return `its signature of ${length} bytes is of no RSA key: it was cut; copy the whole token again`
    return bits.length === 0 || bits.includes(length * 8)
      ? undefined
      : `it is signed with a key of ${length * 8} bits, the configured ones have ${[...new Set(bits)].join(', ')}: configure the public half of the one that signs`
  }
  if (length === usual) return undefined
  if (algorithm.startsWith('ES') && signature[0] === 0x30 && signature[signature[1] === 0x81 ? 2 : 1] === length - (signature[1] === 0x81 ? 3 : 2))
    return `its signature is written as OpenSSL does (DER): let the application write the ${usual} bytes of RFC 7518 3.4, as JWT libraries do`
  return `its signature has ${length} bytes, and ${algorithm} makes ${usual}: it was ${length < usual ? 'cut' : 'copied with more behind it'}; copy the whole token again`
}

/** The keys of one issuer under the name of another. To let that in would be to let one application sign the users of the other. */
export function foreignCure({ jws, issuer, signers }: Findings): string {
  const iss: unknown = jws?.claims.iss
  const who = signers.join(' and ')
  const said = `the keys of ${who} have signed it`
  if (typeof iss !== 'string') return `${said}, but its iss is missing or no text: let the application write the one that ${who} has here`
  const claimed = issuer === undefined ? [] : patternsOf(issuer)
  if (claimed.length === 0) return `${said}: add this iss to that issuer`
  const forged = `if ${who} has not made this token, somebody has forged it with its key`
  if (claimed.includes(iss))
    return `${said}, but its iss is that of ${issuer?.name}, and two issuers cannot take the same one: let the application of ${who} write its own; ${forged}`
  return `${said}, but its iss belongs to ${issuer?.name} (${claimed.join(', ')}): if ${who} issues such tokens, add this very iss to it, which goes before a *; ${forged}`
}
