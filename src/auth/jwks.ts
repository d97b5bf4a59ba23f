import { createPublicKey, createSecretKey, type JsonWebKey } from 'node:crypto'
import { BridgeError } from '../errors.ts'
import { algorithmsOf, minSecretBytes, secretAlgorithms, type VerifyKey } from './keys.ts'

/** More keys than any issuer has; each may cost a try. */
const maxKeys = 100

/**
 * The keys of a JWKS (RFC 7517 5) that tokens can be verified with; the others are passed over, as the RFC asks. `secrets`: whether symmetric keys are among
 * them. They are for files alone: a secret that comes over the net is none.
 * @throws BridgeError invalid_config
 */
export function parseJwks(text: string, { secrets }: { readonly secrets: boolean }): readonly VerifyKey[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new BridgeError('invalid_config', 'the JWKS is not JSON', { cause })
  }
  if (!isRecord(value) || !Array.isArray(value.keys)) throw new BridgeError('invalid_config', 'the JWKS is not an object with a list of keys')
  const jwks: readonly unknown[] = value.keys
  if (jwks.length > maxKeys) throw new BridgeError('invalid_config', `the JWKS has ${jwks.length} keys; ${maxKeys} are the limit`)
  return jwks.map((jwk) => toKey(jwk, secrets)).filter((key) => key !== undefined)
}

/** The keys of a JWKS file, of which there must be at least one. @throws BridgeError invalid_config */
export function parseJwksFile(text: string): readonly VerifyKey[] {
  const keys = parseJwks(text, { secrets: true })
  if (keys.length === 0)
    throw new BridgeError(
      'invalid_config',
      'the JWKS has no key that can verify: public RSA (2048 bits or more), EC (P-256, P-384, P-521) and Ed25519 keys and secrets of 32 bytes can; private keys are passed over, give their public halves',
    )
  return keys
}

function toKey(jwk: unknown, secrets: boolean): VerifyKey | undefined {
  // A private key that was published is nobody's secret any more: what it has signed proves nothing.
  if (!isRecord(jwk) || jwk.d !== undefined) return undefined
  const { use = 'sig', key_ops: operations = ['verify'], alg, kid } = jwk
  if (use !== 'sig' || !Array.isArray(operations) || !operations.includes('verify')) return undefined
  const key = jwk.kty === 'oct' ? toSecret(jwk, secrets) : toPublicKey(jwk)
  const algorithms = key?.algorithms.filter((algorithm) => alg === undefined || algorithm === alg) ?? []
  if (key === undefined || algorithms.length === 0) return undefined
  return { key: key.key, algorithms, ...(typeof kid === 'string' ? { kid } : {}) }
}

function toPublicKey(jwk: JsonWebKey): VerifyKey | undefined {
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    return { key, algorithms: algorithmsOf(key, 'the key') }
  } catch {
    // Broken, weak, or of a kind that came later than this code.
    return undefined
  }
}

function toSecret({ k }: JsonWebKey, allowed: boolean): VerifyKey | undefined {
  const bytes = Buffer.from(typeof k === 'string' ? k : '', 'base64url')
  if (!allowed || bytes.length < minSecretBytes || bytes.toString('base64url') !== k) return undefined
  return { key: createSecretKey(bytes), algorithms: secretAlgorithms }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value)
