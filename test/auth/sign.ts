import { constants, createHmac, type KeyObject, randomBytes, sign } from 'node:crypto'
import type { IssuerOptions } from '../../src/auth/issuer.ts'
import { parseSecret, type VerifyKey } from '../../src/auth/keys.ts'
import { createTokenVerifier, type TokenVerifierOptions } from '../../src/auth/tokens.ts'
import type { Identity } from '../../src/core/identity.ts'
import { BridgeError, type ErrorCode } from '../../src/errors.ts'

/** Signs text; the algorithm that the header names is the caller's affair. */
export type Signer = (input: string) => Buffer

export const hmac =
  (bits: 256 | 384 | 512, secret: string | Buffer): Signer =>
  (input) =>
    createHmac(`sha${bits}`, secret).update(input).digest()

export const rsa =
  (bits: 256 | 384 | 512, key: KeyObject): Signer =>
  (input) =>
    sign(`sha${bits}`, Buffer.from(input), key)

export const pss =
  (bits: 256 | 384 | 512, key: KeyObject): Signer =>
  (input) =>
    sign(`sha${bits}`, Buffer.from(input), { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })

export const ecdsa =
  (bits: 256 | 384 | 512, key: KeyObject): Signer =>
  (input) =>
    sign(`sha${bits}`, Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })

export const eddsa =
  (key: KeyObject): Signer =>
  (input) =>
    sign(null, Buffer.from(input), key)

/** A JWS made by hand, so that a library's care does not stand between a test and what it means to send. Texts are taken as they are. */
export function signJws(header: string | object, claims: string | object | Buffer, signer: Signer): string {
  const input = `${encode(header)}.${encode(claims)}`
  return `${input}.${signer(input).toString('base64url')}`
}

export function encode(part: string | object | Buffer): string {
  const bytes = typeof part === 'string' || Buffer.isBuffer(part) ? part : JSON.stringify(part)
  return Buffer.from(bytes).toString('base64url')
}

/** The moment at which the tests of tokens happen, in seconds. */
export const now = 1_800_000_000

export const secret = randomBytes(64).toString('base64url')

/** An issuer of HS256 tokens with `secret`, unless told otherwise. */
export function issuer(options: Partial<IssuerOptions> = {}): IssuerOptions {
  return {
    name: 'login',
    keys: [{ kind: 'fixed', keys: [parseSecret(secret, 'utf8')] }],
    algorithms: [],
    issuers: [],
    audiences: [],
    authorizedParties: [],
    types: [],
    requiredClaims: [],
    requireExp: true,
    numericStringDates: false,
    userClaims: ['sub'],
    roomsClaim: 'rooms',
    roomTemplates: [],
    clockToleranceMs: 0,
    ...options,
  }
}

/** A verifier for these issuers at the moment of the tests, whose failures in the background fail the test. */
export function verifier(issuers: readonly IssuerOptions[], options: Partial<TokenVerifierOptions> = {}) {
  const onFailure = (error: unknown): never => {
    throw error
  }
  return createTokenVerifier({ issuers, reservedAudiences: [], now: () => now * 1000, onFailure, ...options })
}

/** A well-signed login with these claims; a text is the payload as it is. */
export function token(claims: object | string | Buffer = {}): string {
  const body = typeof claims === 'string' || Buffer.isBuffer(claims) ? claims : { sub: '42', exp: now + 60, ...claims }
  return signJws({ alg: 'HS256', typ: 'JWT' }, body, hmac(256, secret))
}

type Judging = Partial<Omit<IssuerOptions, 'keys'>> & { readonly keys?: readonly VerifyKey[] }

/** What a verifier makes of a token: whose it is, or the code of the refusal. Anything else that is thrown is not an answer. */
export async function judge(text: string, { keys, ...options }: Judging = {}): Promise<Identity | ErrorCode> {
  return answerOf(async () => verifier([issuer({ ...options, ...(keys === undefined ? {} : { keys: [{ kind: 'fixed', keys }] }) })]).verify(text))
}

/** What comes of it, or the code of the refusal. */
export async function answerOf<T>(attempt: () => Promise<T>): Promise<T | ErrorCode> {
  try {
    return await attempt()
  } catch (error) {
    if (error instanceof BridgeError) return error.code
    throw error
  }
}
