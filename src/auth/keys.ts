import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import type { Algorithm } from 'jsonwebtoken'
import { BridgeError } from '../errors.ts'

/** How the text of a secret stands for its bytes. jjwt decodes base64, PHP libraries take the text as it is. */
export const secretEncodings = ['utf8', 'base64', 'base64url', 'hex'] as const
export type SecretEncoding = (typeof secretEncodings)[number]

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
] as const satisfies readonly Algorithm[]
export type TokenAlgorithm = (typeof algorithms)[number]

/** A key and the algorithms that it may be used with. One kind of key never serves another kind of algorithm (RFC 8725 3.1). */
export interface VerifyKey {
  readonly key: KeyObject
  readonly algorithms: readonly TokenAlgorithm[]
}

const minSecretBytes = 32
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
  return { key: createSecretKey(bytes), algorithms: ['HS256', 'HS384', 'HS512'] }
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

function algorithmsOf(key: KeyObject, place: string): readonly TokenAlgorithm[] {
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {}
  switch (key.asymmetricKeyType) {
    case 'rsa':
      if (modulusLength < 2048) throw new BridgeError('invalid_config', `${place} is RSA with ${modulusLength} bits; at least 2048 are needed`)
      return ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
    case 'rsa-pss':
      return ['PS256', 'PS384', 'PS512']
    case 'ec': {
      const algorithm = curves[namedCurve]
      if (algorithm === undefined)
        throw new BridgeError('invalid_config', `${place} is on the curve ${namedCurve}; P-256, P-384 and P-521 are supported`)
      return [algorithm]
    }
    default:
      throw new BridgeError('invalid_config', `${place} is a ${key.asymmetricKeyType} key; RSA and EC keys are supported`)
  }
}
