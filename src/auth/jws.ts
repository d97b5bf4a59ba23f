import { isUtf8 } from 'node:buffer'
import { constants, createHmac, type KeyObject, timingSafeEqual, verify } from 'node:crypto'
import { BridgeError } from '../errors.ts'
import { algorithms, hashOf, type TokenAlgorithm } from './keys.ts'

export type Members = Readonly<Record<string, unknown>>

/** A token in its parts; nothing of it is to be believed before its signature is verified. */
export interface Jws {
  readonly header: Members
  readonly claims: Members
  readonly algorithm: TokenAlgorithm
  /** A hint at the key among those that are known, never an address. Absent when the token has none, or no text. */
  readonly kid?: string
  /** What is signed. */
  readonly input: Buffer
  readonly signature: Buffer
}

/** The longest token that is looked at, in characters. */
export const maxTokenLength = 8192

// Three base64url parts: a JWS (a JWE has five).
const compactJws = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/

/** @throws BridgeError token_malformed; token_signature for an algorithm that is none of ours */
export function parseJws(token: string): Jws {
  if (token.length > maxTokenLength) throw malformed(`the token has ${token.length} characters; ${maxTokenLength} are the limit`)
  const [, headerPart = '', claimsPart = '', signaturePart = ''] = compactJws.exec(token) ?? []
  if (headerPart === '') throw malformed('the token is not three base64url parts')
  const signature = toBytes(signaturePart)
  // Bits that stand for nothing would let one signature be written in several ways.
  if (signature.toString('base64url') !== signaturePart) throw malformed('the signature of the token is not base64url')
  const header = parsePart(headerPart, 'header')
  const { alg, crit, kid } = header
  if (typeof alg !== 'string') throw malformed('the header of the token has no alg')
  // RFC 7515 4.1.11: an extension that must be understood and is not makes the token invalid.
  if (crit !== undefined) throw malformed('the token has extensions that must be understood (crit); none is')
  const claims = parsePart(claimsPart, 'payload')
  const algorithm = algorithms.find((one) => one === alg)
  if (algorithm === undefined) throw new BridgeError('token_signature', `the token is signed with ${quote(alg)}, which no key verifies`)
  return {
    header,
    claims,
    algorithm,
    ...(typeof kid === 'string' ? { kid } : {}),
    input: Buffer.from(token.slice(0, token.lastIndexOf('.'))),
    signature,
  }
}

const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }

/** Whether the signature is that of this key. The caller has seen to it that the algorithm is one of the key's own. */
export function isSignedBy({ algorithm, input, signature }: Jws, key: KeyObject): boolean {
  try {
    switch (algorithm) {
      case 'HS256':
      case 'HS384':
      case 'HS512': {
        const expected = createHmac(hashOf(algorithm), key).update(input).digest()
        return expected.length === signature.length && timingSafeEqual(expected, signature)
      }
      case 'RS256':
      case 'RS384':
      case 'RS512':
        // Plain RSA keys have PKCS #1 v1.5 as their padding, and Node takes longer over a key with options.
        return verify(hashOf(algorithm), input, key, signature)
      case 'PS256':
      case 'PS384':
      case 'PS512':
        // RFC 7518 3.5: the salt is as long as the hash, no other length will do.
        // OpenSSL would take one without its leading zeros; RFC 8017 8.1.2 has one length only.
        return signature.length === modulusBytes(key) && verify(hashOf(algorithm), input, { key, ...pss }, signature)
      case 'ES256':
      case 'ES384':
      case 'ES512':
        return verify(hashOf(algorithm), input, { key, dsaEncoding: 'ieee-p1363' }, signature)
      case 'EdDSA':
      case 'Ed25519':
        return verify(null, input, key, signature)
      default:
        return algorithm satisfies never
    }
  } catch {
    // A signature that OpenSSL cannot even read.
    return false
  }
}

function modulusBytes(key: KeyObject): number {
  return Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8)
}

/** Something that a stranger sent, for the log: in quotes and not long. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? 'absent'
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}

function parsePart(part: string, name: string): Members {
  const bytes = toBytes(part)
  // Bits that stand for nothing, again; and bytes that are no text would all become the same character: two users could become one.
  if (bytes.toString('base64url') === part && isUtf8(bytes)) {
    const members = toMembers(bytes.toString(), name)
    if (members !== undefined) return members
  }
  throw malformed(`the ${name} of the token is not a JSON object`)
}

function toMembers(text: string, name: string): Members | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  // RFC 7519 4: of two claims of one name another reader may have checked the other one.
  if (countMembers(value) !== countColons(text)) throw malformed(`the ${name} of the token says something twice`)
  return { ...value }
}

/** How many members the objects of a JSON text have: one for each colon that is in no string. */
const countColons = (json: string): number => json.replace(/"(?:[^"\\]|\\.)*"/g, '').split(':').length - 1

/** How many members are left of them in a value. Without recursion: nesting may be as deep as a token is long. */
function countMembers(root: object): number {
  let count = 0
  const open: object[] = [root]
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    const items: readonly unknown[] = Object.values(value)
    if (!Array.isArray(value)) count += items.length
    for (const item of items) if (typeof item === 'object' && item !== null) open.push(item)
  }
  return count
}

const malformed = (detail: string): BridgeError => new BridgeError('token_malformed', detail)
const toBytes = (part: string): Buffer => Buffer.from(part, 'base64url')
