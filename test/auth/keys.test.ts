import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { parsePublicKeys, parseSecret, type VerifyKey } from '../../src/auth/keys.ts'
import { ecdsa, eddsa, encode, hmac, judge, now, pss, rsa, type Signer, secret, signJws } from './sign.ts'

const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
const otherRsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
const p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
const p521 = generateKeyPairSync('ec', { namedCurve: 'secp521r1' })
const ed25519 = generateKeyPairSync('ed25519')

const claims = { sub: '42', exp: now + 60 }
const accepted = expect.objectContaining({ user: '42' })

function pem({ publicKey }: { readonly publicKey: KeyObject }): string {
  return String(publicKey.export({ type: 'spki', format: 'pem' }))
}

const publicKeys = (...pairs: readonly { readonly publicKey: KeyObject }[]): readonly VerifyKey[] => parsePublicKeys(pairs.map(pem).join('\n'))

const families: readonly [string, Signer, readonly VerifyKey[]][] = [
  ['HS256', hmac(256, secret), [parseSecret(secret, 'utf8')]],
  ['HS384', hmac(384, secret), [parseSecret(secret, 'utf8')]],
  ['HS512', hmac(512, secret), [parseSecret(secret, 'utf8')]],
  ['RS256', rsa(256, rsaKey.privateKey), publicKeys(rsaKey)],
  ['RS384', rsa(384, rsaKey.privateKey), publicKeys(rsaKey)],
  ['RS512', rsa(512, rsaKey.privateKey), publicKeys(rsaKey)],
  ['PS256', pss(256, rsaKey.privateKey), publicKeys(rsaKey)],
  ['PS384', pss(384, rsaKey.privateKey), publicKeys(rsaKey)],
  ['PS512', pss(512, rsaKey.privateKey), publicKeys(rsaKey)],
  ['ES256', ecdsa(256, p256.privateKey), publicKeys(p256)],
  ['ES384', ecdsa(384, p384.privateKey), publicKeys(p384)],
  ['ES512', ecdsa(512, p521.privateKey), publicKeys(p521)],
  ['EdDSA', eddsa(ed25519.privateKey), publicKeys(ed25519)],
  ['Ed25519', eddsa(ed25519.privateKey), publicKeys(ed25519)],
]

describe.each(families)('%s', (alg, signer, keys) => {
  const genuine = signJws({ alg }, claims, signer)

  test('a token signed with the right key is accepted', async () => {
    expect(await judge(genuine, { keys })).toEqual(accepted)
  })

  test('a signature that was cut short, lengthened, flipped or left out is refused', async () => {
    const cut = genuine.lastIndexOf('.') + 1
    const signature = Buffer.from(genuine.slice(cut), 'base64url')
    const flipped = [0, signature.length >> 1, signature.length - 1].map((at) => {
      const copy = Buffer.from(signature)
      copy[at] = (copy[at] ?? 0) ^ 1
      return copy
    })
    const forged = [
      signature.subarray(0, -1),
      signature.subarray(1),
      Buffer.concat([signature, Buffer.of(0)]),
      Buffer.alloc(signature.length),
      ...flipped,
    ]
    for (const one of forged) expect(await judge(genuine.slice(0, cut) + one.toString('base64url'), { keys })).toBe('token_signature')
    expect(await judge(genuine.slice(0, cut), { keys })).toBe('token_signature')
  })

  test('one signature can be written in one way only', async () => {
    const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const last = digits.indexOf(genuine.at(-1) ?? '')
    const twins = [...digits].filter((_, index) => index !== last && (index & ~3) === (last & ~3))
    for (const digit of twins) expect(await judge(genuine.slice(0, -1) + digit, { keys })).toMatch(/^token_(malformed|signature)$/)
  })

  test('a header that was changed after signing is refused', async () => {
    const [, ...rest] = genuine.split('.')
    expect(await judge([encode({ alg, typ: 'JWT' }), ...rest].join('.'), { keys })).toBe('token_signature')
  })

  test('it is refused when another one is configured for the same key', async () => {
    const others = keys.flatMap((key) => key.algorithms).filter((algorithm) => algorithm !== alg)
    if (others.length > 0) expect(await judge(genuine, { keys, algorithms: others })).toBe('token_signature')
    else expect(keys[0]?.algorithms).toEqual([alg])
  })
})

test('an RSA signature that begins with a zero is refused without it', async () => {
  const keys = publicKeys(rsaKey)
  for (const [alg, signer] of [
    ['RS256', rsa(256, rsaKey.privateKey)],
    ['PS256', pss(256, rsaKey.privateKey)],
  ] as const) {
    // One in 256 does.
    for (let number = 0; ; number++) {
      const genuine = signJws({ alg }, { ...claims, number }, signer)
      const cut = genuine.lastIndexOf('.') + 1
      const signature = Buffer.from(genuine.slice(cut), 'base64url')
      if (signature[0] !== 0) continue
      expect(await judge(genuine, { keys })).toEqual(accepted)
      expect(await judge(genuine.slice(0, cut) + signature.toString('base64url', 1), { keys })).toBe('token_signature')
      break
    }
  }
})

test('while keys are rotated, each of several PEM keys verifies, whatever kid the token names', async () => {
  const keys = publicKeys(rsaKey, p256, otherRsaKey)
  expect(await judge(signJws({ alg: 'RS256', kid: 'old' }, claims, rsa(256, rsaKey.privateKey)), { keys })).toEqual(accepted)
  expect(await judge(signJws({ alg: 'PS512', kid: 'new' }, claims, pss(512, otherRsaKey.privateKey)), { keys })).toEqual(accepted)
  expect(await judge(signJws({ alg: 'ES256', kid: '../../etc/passwd' }, claims, ecdsa(256, p256.privateKey)), { keys })).toEqual(accepted)
})

test('a key that is not configured verifies nothing', async () => {
  expect(await judge(signJws({ alg: 'RS256' }, claims, rsa(256, otherRsaKey.privateKey)), { keys: publicKeys(rsaKey) })).toBe('token_signature')
})

test('the text of the public key is no HMAC secret', async () => {
  const { publicKey } = rsaKey
  const texts = [
    pem(rsaKey),
    pem(rsaKey).trim(),
    String(publicKey.export({ type: 'pkcs1', format: 'pem' })),
    publicKey.export({ type: 'spki', format: 'der' }),
    publicKey.export({ type: 'pkcs1', format: 'der' }),
  ]
  for (const text of texts) {
    for (const bits of [256, 384, 512] as const)
      expect(await judge(signJws({ alg: `HS${bits}` }, claims, hmac(bits, text)), { keys: publicKeys(rsaKey) })).toBe('token_signature')
  }
  expect(() => parseSecret(pem(rsaKey), 'utf8')).toThrow(/PEM/)
})

test('an empty secret verifies nothing, whatever the kind of key', async () => {
  for (const keys of [publicKeys(rsaKey), publicKeys(p256), [parseSecret(secret, 'utf8')]])
    expect(await judge(signJws({ alg: 'HS256' }, claims, hmac(256, '')), { keys })).toBe('token_signature')
})

test.each(['none', 'None', 'NONE', 'nOnE', '', 'HS256 ', 'hs256', 'RS256\0', 'EdDSA', 'ES256K', '__proto__', 'constructor'])(
  'the algorithm %j is refused, signed or not',
  async (alg) => {
    for (const keys of [publicKeys(rsaKey), [parseSecret(secret, 'utf8')]]) {
      expect(await judge(signJws({ alg }, claims, hmac(256, secret)), { keys })).toBe('token_signature')
      expect(await judge(`${encode({ alg })}.${encode(claims)}.`, { keys })).toBe('token_signature')
    }
  },
)

test('a signature on one curve is no signature on another', async () => {
  expect(await judge(signJws({ alg: 'ES256' }, claims, ecdsa(256, p384.privateKey)), { keys: publicKeys(p384) })).toBe('token_signature')
  expect(await judge(signJws({ alg: 'ES384' }, claims, ecdsa(384, p256.privateKey)), { keys: publicKeys(p256) })).toBe('token_signature')
  expect(await judge(signJws({ alg: 'ES256' }, claims, ecdsa(256, p384.privateKey)), { keys: publicKeys(p256, p384) })).toBe('token_signature')
})

test('an ECDSA signature of zeros, which some verifiers took for valid, is refused', async () => {
  expect(
    await judge(
      signJws({ alg: 'ES256' }, claims, () => Buffer.alloc(64)),
      { keys: publicKeys(p256) },
    ),
  ).toBe('token_signature')
})

test('an RSA signature with the padding of the other scheme is refused', async () => {
  const keys = publicKeys(rsaKey)
  expect(await judge(signJws({ alg: 'PS256' }, claims, rsa(256, rsaKey.privateKey)), { keys })).toBe('token_signature')
  expect(await judge(signJws({ alg: 'RS256' }, claims, pss(256, rsaKey.privateKey)), { keys })).toBe('token_signature')
  expect(await judge(signJws({ alg: 'RS256' }, claims, rsa(512, rsaKey.privateKey)), { keys })).toBe('token_signature')
})

test('keys and addresses that a token brings along are ignored', async () => {
  const jwk = otherRsaKey.publicKey.export({ format: 'jwk' })
  const header = { alg: 'RS256', jwk, jku: 'http://127.0.0.1:9/keys', x5u: 'http://127.0.0.1:9/chain', x5c: [encode(pem(otherRsaKey))] }
  expect(await judge(signJws(header, claims, rsa(256, otherRsaKey.privateKey)), { keys: publicKeys(rsaKey) })).toBe('token_signature')
  expect(await judge(signJws(header, claims, rsa(256, rsaKey.privateKey)), { keys: publicKeys(rsaKey) })).toEqual(accepted)
})

test('a key that is too weak or of an unknown kind is refused when it is configured', () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  expect(() => parsePublicKeys(pem(weak))).toThrow(/1024 bits; at least 2048/)
  expect(() => parsePublicKeys(pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })))).toThrow(/secp256k1/)
  expect(() => parsePublicKeys(pem(generateKeyPairSync('ed448')))).toThrow(/ed448/)
  expect(() => parsePublicKeys(pem(generateKeyPairSync('rsa-pss', { modulusLength: 1024 })))).toThrow(/1024 bits; at least 2048/)
  expect(() => parsePublicKeys(pem(rsaKey).replace('MII', 'MIJ'))).toThrow(/key 1 of 1/)
  expect(() => parsePublicKeys('no key at all')).toThrow(/no PEM block/)
})

test('a private key is refused where the public one belongs, and is not repeated', () => {
  const text = String(rsaKey.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  expect(() => parsePublicKeys(pem(rsaKey) + text)).toThrow(/^SIDECAST_JWT_PUBLIC_KEY holds a private key: it belongs to the application alone/)
})

test('a public key in another notation is the same key', async () => {
  const text = String(createPublicKey(rsaKey.privateKey).export({ type: 'pkcs1', format: 'pem' }))
  expect(await judge(signJws({ alg: 'RS256' }, claims, rsa(256, rsaKey.privateKey)), { keys: parsePublicKeys(text) })).toEqual(accepted)
})

test('a secret is taken in the encoding that is configured, and in no other', async () => {
  const bytes = Buffer.from('0123456789abcdef0123456789abcdefXYZ!?')
  for (const encoding of ['base64', 'base64url', 'hex'] as const) {
    const keys = [parseSecret(bytes.toString(encoding), encoding)]
    expect(await judge(signJws({ alg: 'HS256' }, claims, hmac(256, bytes)), { keys })).toEqual(accepted)
    expect(await judge(signJws({ alg: 'HS256' }, claims, hmac(256, bytes.toString(encoding))), { keys })).toBe('token_signature')
  }
  expect(() => parseSecret(`${bytes.toString('hex')}zz`, 'hex')).toThrow(/not hex/)
  expect(() => parseSecret('short', 'utf8')).toThrow(/5 bytes/)
})

test.each([
  'your-256-bit-secret-your-256-bit-secret',
  'a-string-secret-at-least-256-bits-long',
  'a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long',
])('the secret %s of a tutorial is refused as a placeholder', (secret) => {
  expect(() => parseSecret(secret, 'utf8')).toThrow(/placeholder/)
})

test('keys and an algorithm list that have nothing in common are refused at the start', async () => {
  expect(await judge('', { keys: publicKeys(p256), algorithms: ['RS256'] })).toBe('invalid_config')
})
