import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import { BridgeError } from '../errors.ts'

/** How the text of a secret stands for its bytes. jjwt decodes base64, PHP libraries take the text as it is. */
export const secretEncodings = ['utf8', 'base64', 'base64url', 'hex'] as const
export type SecretEncoding = (typeof secretEncodings)[number]

/** RFC 7518 3.1, RFC 8037, and RFC 9864, which calls EdDSA with this curve by its name. */
export const algorithms = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const
export type TokenAlgorithm = (typeof algorithms)[number]

/** A key and the algorithms that it may be used with. One kind of key never serves another kind of algorithm (RFC 8725 3.1). */
export interface VerifyKey {
  readonly key: KeyObject
  readonly algorithms: readonly TokenAlgorithm[]
  /** What tokens may name it by. A key without one is tried whatever the token names. */
  readonly kid?: string
}

export const minSecretBytes = 32
export const secretAlgorithms = ['HS256', 'HS384', 'HS512'] as const satisfies readonly TokenAlgorithm[]
const curves: Readonly<Record<string, TokenAlgorithm>> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }

/** @throws BridgeError invalid_config */
export function parseSecret(text: string, encoding: SecretEncoding): VerifyKey {
  const bytes = Buffer.from(text, encoding)
  // Node drops what it cannot decode; a secret that is half its length by a wrong encoding must not pass.
  if (encoding !== 'utf8' && bytes.toString(encoding).replace(/=+$/, '') !== (encoding === 'hex' ? text.toLowerCase() : text.replace(/=+$/, ''))) {
    throw new BridgeError('invalid_config', `SIDECAST_JWT_SECRET is not ${encoding}: check SIDECAST_JWT_SECRET_ENCODING`)
  }
  if (bytes.length < minSecretBytes) {
    throw new BridgeError(
      'invalid_config',
      `SIDECAST_JWT_SECRET has ${bytes.length} bytes; at least ${minSecretBytes} are needed (openssl rand -base64 48)`,
    )
  }
  if (text.includes('-----BEGIN')) {
    throw new BridgeError('invalid_config', 'SIDECAST_JWT_SECRET is a PEM key: a public key goes into SIDECAST_JWT_PUBLIC_KEY')
  }
  if (isPlaceholder(text)) {
    throw new BridgeError(
      'invalid_config',
      'SIDECAST_JWT_SECRET is a placeholder: use the secret that signs your login tokens (openssl rand -base64 48 makes one)',
    )
  }
  return { key: createSecretKey(bytes), algorithms: secretAlgorithms }
}

/** Secrets that are in everybody's tutorial ("a-string-secret-at-least-256-bits-long" in that of jwt.io), or hardly more than one character. */
export function isPlaceholder(text: string): boolean {
  return (
    new Set(text).size < 8 ||
    /change[-_ ]?me|placeholder|your[-_ ]?(\d+[-_ ]?bit[-_ ]?)?(jwt[-_ ]?)?secret|example[-_ ]?(secret|key)|secret[-_ ]?(key[-_ ]?)?here|insert[-_ ]?|string[-_ ]secret[-_ ](at|that)/i.test(
      text,
    )
  )
}

/** The public keys in a text of one or more PEM blocks (public keys or certificates). @throws BridgeError invalid_config */
export function parsePublicKeys(text: string): readonly VerifyKey[] {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new BridgeError(
      'invalid_config',
      'SIDECAST_JWT_PUBLIC_KEY holds a private key: it belongs to the application alone; give its public half (openssl pkey -pubout)',
    )
  }
  const blocks = text.match(/-----BEGIN ([A-Z ]+)-----[\s\S]*?-----END \1-----/g) ?? []
  if (blocks.length === 0) {
    // On one line and with a slash or an ending: what was meant is a file.
    const hint = /^\S*(\/\S+|\.(pem|key|crt|cer|pub))$/.test(text.trim()) ? ': for a file use SIDECAST_JWT_PUBLIC_KEY_FILE' : ''
    throw new BridgeError('invalid_config', `SIDECAST_JWT_PUBLIC_KEY holds no PEM block (-----BEGIN PUBLIC KEY-----)${hint}`)
  }
  return blocks.map((block, index) => {
    const place = `key ${index + 1} of ${blocks.length} in SIDECAST_JWT_PUBLIC_KEY`
    let key: KeyObject
    try {
      key = createPublicKey(block)
    } catch (cause) {
      throw new BridgeError('invalid_config', `${place} cannot be read`, { cause })
    }
    return { key, algorithms: algorithmsOf(key, place) }
  })
}

/** What a public key may verify. `place` names it in the error. @throws BridgeError invalid_config for a key that is weak or of another kind */
export function algorithmsOf(key: KeyObject, place: string): readonly TokenAlgorithm[] {
  const { modulusLength = 0, publicExponent = 0n, namedCurve = '', hashAlgorithm, mgf1HashAlgorithm } = key.asymmetricKeyDetails ?? {}
  const refused = (detail: string): BridgeError => new BridgeError('invalid_config', `${place} is ${detail}`)
  switch (key.asymmetricKeyType) {
    case 'rsa':
    case 'rsa-pss': {
      if (modulusLength < 2048) throw refused(`RSA with ${modulusLength} bits; at least 2048 are needed`)
      // With the exponent 1 a signature is what it signs: everybody could make one.
      if (publicExponent < 3n) throw refused(`RSA with the exponent ${publicExponent}, which proves nothing`)
      if (key.asymmetricKeyType === 'rsa') return ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
      // The key itself may say which hash it is for (RFC 4055 3.1); JWS uses one for both purposes (RFC 7518 3.5).
      if (hashAlgorithm !== mgf1HashAlgorithm) throw refused(`RSA-PSS with ${hashAlgorithm} and ${mgf1HashAlgorithm}; JWS needs them to be the same`)
      return (['PS256', 'PS384', 'PS512'] as const).filter((algorithm) => (hashAlgorithm ?? hashOf(algorithm)) === hashOf(algorithm))
    }
    case 'ec': {
      const algorithm = curves[namedCurve]
      if (algorithm === undefined) throw refused(`on the curve ${namedCurve}; P-256, P-384 and P-521 are supported`)
      return [algorithm]
    }
    case 'ed25519':
      return ['EdDSA', 'Ed25519']
    default:
      throw refused(`a ${key.asymmetricKeyType} key; RSA, EC and Ed25519 keys are supported`)
  }
}

/** The hash that an algorithm of the families HS, RS, PS and ES signs, by Node's name. */
export const hashOf = (algorithm: TokenAlgorithm): string => `sha${algorithm.slice(2)}`
