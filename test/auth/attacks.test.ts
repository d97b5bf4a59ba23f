import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { parseJwksFile } from '../../src/auth/jwks.ts'
import { parsePublicKeys, parseSecret } from '../../src/auth/keys.ts'
import { BridgeError, type ErrorCode } from '../../src/errors.ts'
import { openRaw } from '../gateway/raw-client.ts'
import { startTestBridge } from '../support/bridge.ts'
import { answerOf, ecdsa, encode, hmac, issuer, rsa, secret, signJws, verifier } from './sign.ts'

const folder = await mkdtemp(join(tmpdir(), 'sidecast-attacks-'))
afterAll(() => rm(folder, { recursive: true }))

const seconds = Math.floor(Date.now() / 1000)
const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ecKey = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const otherCurve = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
const mallory = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = String(rsaKey.publicKey.export({ type: 'spki', format: 'pem' }))
const jwks = JSON.stringify({ keys: [{ ...ecKey.publicKey.export({ format: 'jwk' }), kid: 'ec-1', alg: 'ES256', use: 'sig' }] })

/** Three issuers: a PEM key without a name, a key set, a secret. */
const names = { pem: 'https://pem.example', jwks: 'https://jwks.example', secret: 'https://secret.example' } as const
const trusted = verifier(
  [
    issuer({ name: 'pem', issuers: [names.pem], keys: [{ kind: 'fixed', keys: parsePublicKeys(pem) }] }),
    issuer({ name: 'jwks', issuers: [names.jwks], keys: [{ kind: 'fixed', keys: parseJwksFile(jwks) }] }),
    issuer({ name: 'secret', issuers: [names.secret], keys: [{ kind: 'fixed', keys: [parseSecret(secret, 'utf8')] }] }),
  ],
  { now: () => seconds * 1000 },
)

const claims = { sub: '42', exp: seconds + 3600 }
const byPem = { ...claims, iss: names.pem }
const byJwks = { ...claims, iss: names.jwks }
const bySecret = { ...claims, iss: names.secret }
const good = {
  pem: signJws({ alg: 'RS256' }, byPem, rsa(256, rsaKey.privateKey)),
  jwks: signJws({ alg: 'ES256', kid: 'ec-1' }, byJwks, ecdsa(256, ecKey.privateKey)),
  secret: signJws({ alg: 'HS256' }, bySecret, hmac(256, secret)),
}

const partsOf = (token: string): readonly [string, string, string] => token.split('.') as [string, string, string]
const withSignature = (token: string, change: (signature: Buffer) => Buffer): string => {
  const [header, body, signature] = partsOf(token)
  return `${header}.${body}.${change(Buffer.from(signature, 'base64url')).toString('base64url')}`
}
const flip = (bit: number) => (signature: Buffer) => {
  const copy = Buffer.from(signature)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}
/** What an attacker can sign alone: with no key at all, or one of its own. */
const byMallory = (header: object, said: object = byPem) => signJws({ alg: 'RS256', ...header }, said, rsa(256, mallory.privateKey))
const spki = (key: KeyObject, type: 'spki' | 'pkcs1', format: 'pem' | 'der') => key.export({ type, format } as { type: 'spki'; format: 'der' })
const signed = (said: string | Buffer, header: string | object = { alg: 'RS256' }) => signJws(header, said, rsa(256, rsaKey.privateKey))
const dated = (members: string) => signed(`{"iss":"${names.pem}","sub":"42",${members}}`)

const none = ['none', 'None', 'NONE', 'nOnE', 'noNe', 'none ', ' none', 'none\0', '', 'null', 'false']

const attacks: readonly (readonly [string, string, ErrorCode])[] = [
  ...none.flatMap((alg): [string, string, ErrorCode][] => [
    [`alg ${JSON.stringify(alg)} without a signature`, `${encode({ alg })}.${encode(byPem)}.`, 'token_signature'],
    [
      `alg ${JSON.stringify(alg)} with the signature of another token`,
      `${encode({ alg })}.${encode(byPem)}.${partsOf(good.pem)[2]}`,
      'token_signature',
    ],
  ]),
  ['alg none in two parts', `${encode({ alg: 'none' })}.${encode(byPem)}`, 'token_malformed'],
  ['alg twice, the first none', signed(JSON.stringify(byPem), '{"alg":"none","alg":"RS256"}'), 'token_malformed'],
  ['alg twice, in two spellings of one name', signed(JSON.stringify(byPem), '{"alg":"RS256","\\u0061lg":"RS256"}'), 'token_malformed'],
  ['alg in capitals beside', `${encode({ ALG: 'RS256', alg: 'none' })}.${encode(byPem)}.`, 'token_signature'],

  ...(['spki', 'pkcs1'] as const).flatMap((type) =>
    (['pem', 'der'] as const).flatMap((format) =>
      ([256, 384, 512] as const).map((bits): [string, string, ErrorCode] => [
        `HS${bits} with the public key as the secret, ${type} in ${format}`,
        signJws({ alg: `HS${bits}` }, byPem, hmac(bits, spki(rsaKey.publicKey, type, format))),
        'token_signature',
      ]),
    ),
  ),
  ['HS256 with the PEM without its last line end', signJws({ alg: 'HS256' }, byPem, hmac(256, pem.trim())), 'token_signature'],
  ['HS256 with the JWKS as the secret', signJws({ alg: 'HS256', kid: 'ec-1' }, byJwks, hmac(256, jwks)), 'token_signature'],
  [
    'HS256 with the modulus as the secret',
    signJws({ alg: 'HS256' }, byPem, hmac(256, String(rsaKey.publicKey.export({ format: 'jwk' }).n))),
    'token_signature',
  ],
  ['HS256 with an empty secret', signJws({ alg: 'HS256' }, bySecret, hmac(256, '')), 'token_signature'],
  ['HS256 with zeros as the secret', signJws({ alg: 'HS256' }, bySecret, hmac(256, Buffer.alloc(64))), 'token_signature'],
  ['RS256 where a secret is configured', signJws({ alg: 'RS256' }, bySecret, rsa(256, mallory.privateKey)), 'token_signature'],
  ['the secret itself for a signature', withSignature(good.secret, () => Buffer.from(secret)), 'token_signature'],
  ['the hash without the secret', withSignature(good.secret, () => createHmac('sha256', '').update(good.secret).digest()), 'token_signature'],

  ...[
    '../../../../../../dev/null',
    '/proc/sys/kernel/randomize_va_space',
    'file:///dev/null',
    "' OR 1=1 --",
    "ec-1' UNION SELECT 'secret",
    'ec-1\0',
    'EC-1',
    '__proto__',
    'constructor',
    '| sleep 10 |',
    'x'.repeat(4000),
  ].flatMap((kid): [string, string, ErrorCode][] => [
    [`the kid ${kid.slice(0, 40)} with an empty secret`, signJws({ alg: 'HS256', kid }, byJwks, hmac(256, '')), 'token_signature'],
    [`the kid ${kid.slice(0, 40)} with the right key`, signJws({ alg: 'ES256', kid }, byJwks, ecdsa(256, ecKey.privateKey)), 'token_signature'],
  ]),
  ['an embedded key (jwk)', byMallory({ jwk: mallory.publicKey.export({ format: 'jwk' }) }), 'token_signature'],
  ['an address of keys (jku)', byMallory({ jku: 'http://127.0.0.1:9/jwks' }), 'token_signature'],
  ['an address of certificates (x5u)', byMallory({ x5u: 'http://127.0.0.1:9/chain' }), 'token_signature'],
  ['an embedded certificate (x5c)', byMallory({ x5c: [encode(spki(mallory.publicKey, 'spki', 'der'))] }), 'token_signature'],
  [
    'an embedded key under the name of a known one',
    byMallory({ kid: 'ec-1', jwk: { ...mallory.publicKey.export({ format: 'jwk' }), kid: 'ec-1' } }, byJwks),
    'token_signature',
  ],

  ['ES256 on another curve', signJws({ alg: 'ES256', kid: 'ec-1' }, byJwks, ecdsa(256, otherCurve.privateKey)), 'token_signature'],
  ['ES384 with a key for ES256', signJws({ alg: 'ES384', kid: 'ec-1' }, byJwks, ecdsa(384, ecKey.privateKey)), 'token_signature'],
  ['ES256K with a key for ES256', signJws({ alg: 'ES256K', kid: 'ec-1' }, byJwks, ecdsa(256, ecKey.privateKey)), 'token_signature'],
  [
    'an ES256 signature in DER',
    signJws({ alg: 'ES256', kid: 'ec-1' }, byJwks, (input) => sign('sha256', Buffer.from(input), ecKey.privateKey)),
    'token_signature',
  ],
  ['an ES256 signature of zeros', withSignature(good.jwks, () => Buffer.alloc(64)), 'token_signature'],
  [
    'an ES256 signature of the order of the curve',
    withSignature(good.jwks, () => Buffer.from('FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551'.repeat(2), 'hex')),
    'token_signature',
  ],
  ...Object.entries(good).flatMap(([name, token]): [string, string, ErrorCode][] => [
    [`the ${name} token without its signature`, withSignature(token, () => Buffer.of()), 'token_signature'],
    [`the ${name} token with one byte of its signature`, withSignature(token, (signature) => signature.subarray(0, 1)), 'token_signature'],
    [`the ${name} token with all but the last byte`, withSignature(token, (signature) => signature.subarray(0, -1)), 'token_signature'],
    [`the ${name} token with a byte more`, withSignature(token, (signature) => Buffer.concat([signature, Buffer.of(0)])), 'token_signature'],
    [
      `the ${name} token with a zero in front of its signature`,
      withSignature(token, (signature) => Buffer.concat([Buffer.of(0), signature])),
      'token_signature',
    ],
    [`the ${name} token with the first bit flipped`, withSignature(token, flip(7)), 'token_signature'],
    [`the ${name} token with a bit in the middle flipped`, withSignature(token, flip(133)), 'token_signature'],
    [`the ${name} token with the signature twice`, `${token}.${partsOf(token)[2]}`, 'token_malformed'],
    [`the ${name} token with a dot more`, `${token}.`, 'token_malformed'],
    [
      `the ${name} token of another user`,
      [partsOf(token)[0], encode({ ...claims, iss: names[name as keyof typeof names], sub: '1' }), partsOf(token)[2]].join('.'),
      'token_signature',
    ],
  ]),

  ['sub twice', signed(`{"sub":"1","sub":"42","exp":${seconds + 60},"iss":"${names.pem}"}`), 'token_malformed'],
  ['iss twice, of two issuers', signed(`{"iss":"${names.pem}","iss":"${names.secret}","sub":"42","exp":${seconds + 60}}`), 'token_malformed'],
  ['sub twice, once with an escape', dated(`"exp":${seconds + 60},"s\\u0075b":"1"`), 'token_malformed'],
  ['something twice deep inside', dated(`"exp":${seconds + 60},"a":[{"b":{"c":1,"c":2}}]`), 'token_malformed'],
  [
    'claims that are not UTF-8',
    signed(Buffer.concat([Buffer.from(`{"iss":"${names.pem}","exp":${seconds + 60},"sub":"4`), Buffer.of(0xff), Buffer.from('2"}')])),
    'token_malformed',
  ],
  ['claims in UTF-16', signed(Buffer.from(JSON.stringify(byPem), 'utf16le')), 'token_malformed'],
  ['claims behind a byte order mark', signed(Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), Buffer.from(JSON.stringify(byPem))])), 'token_malformed'],
  [
    'an overlong slash',
    signed(Buffer.concat([Buffer.from(`{"iss":"${names.pem}","exp":${seconds + 60},"sub":"`), Buffer.of(0xc0, 0xaf), Buffer.from('"}')])),
    'token_malformed',
  ],
  ['a hundred kilobytes', signed(JSON.stringify({ ...byPem, padding: 'x'.repeat(75_000) })), 'token_malformed'],
  ['a hundred kilobytes of dots', '.'.repeat(100_000), 'token_malformed'],
  ['as much nesting as fits', dated(`"a":${'['.repeat(2700)}${']'.repeat(2700)}`), 'token_claims'],
  ['an encrypted token', ['eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ', 'a2V5', 'aXY', 'Y2lwaGVydGV4dA', 'dGFn'].join('.'), 'token_malformed'],
  [
    'an encrypted token with an empty key',
    [encode({ alg: 'dir', enc: 'A256GCM' }), '', 'aXY', 'Y2lwaGVydGV4dA', 'dGFn'].join('.'),
    'token_malformed',
  ],
  ['a token in a token', signed(JSON.stringify(good.pem), { alg: 'RS256', cty: 'JWT' }), 'token_malformed'],
  ['a token in a token, bare', signed(good.pem, { alg: 'RS256', cty: 'JWT' }), 'token_malformed'],
  ['an unencoded payload', signed(JSON.stringify(byPem), { alg: 'RS256', b64: false, crit: ['b64'] }), 'token_malformed'],
  [
    'a token in the JSON form',
    JSON.stringify({ protected: partsOf(good.pem)[0], payload: partsOf(good.pem)[1], signature: partsOf(good.pem)[2] }),
    'token_malformed',
  ],

  ['exp as a text', dated(`"exp":"${seconds + 60}"`), 'token_claims'],
  ['exp below zero', dated('"exp":-1'), 'token_expired'],
  ['exp beyond all dates', dated('"exp":1e300'), 'token_claims'],
  ['exp infinite', dated('"exp":1e999'), 'token_claims'],
  ['exp the text NaN', dated('"exp":"NaN"'), 'token_claims'],
  ['exp the word NaN', dated('"exp":NaN'), 'token_malformed'],
  ['exp in a list', dated(`"exp":[${seconds + 60}]`), 'token_claims'],
  ['exp over', dated(`"exp":${seconds - 60}`), 'token_expired'],
  ['no exp', dated('"x":1'), 'token_claims'],
  ['nbf ahead', dated(`"exp":${seconds + 7200},"nbf":${seconds + 3600}`), 'token_not_active'],
  ['iat ahead', dated(`"exp":${seconds + 7200},"iat":${seconds + 3600}`), 'token_not_active'],

  [
    'the issuer of a secret with the key of a key set',
    signJws({ alg: 'ES256', kid: 'ec-1' }, bySecret, ecdsa(256, ecKey.privateKey)),
    'token_signature',
  ],
  ['the issuer of a key set with the secret of another', signJws({ alg: 'HS256', kid: 'ec-1' }, byJwks, hmac(256, secret)), 'token_signature'],
  ['the issuer of a key set with the key of a PEM', signJws({ alg: 'RS256', kid: 'ec-1' }, byJwks, rsa(256, rsaKey.privateKey)), 'token_signature'],
  ['an issuer that nobody knows', byMallory({}, { ...claims, iss: 'https://evil.example' }), 'token_issuer'],
  ['no issuer', byMallory({}, claims), 'token_issuer'],
  ['two issuers', signed(JSON.stringify({ ...claims, iss: [names.pem, names.secret] })), 'token_issuer'],
  ['a room token as a login', signed(JSON.stringify({ ...byPem, aud: 'sidecast:room', room: 'a' })), 'token_audience'],
]

test('without an attack the tokens are good', async () => {
  for (const token of Object.values(good)) expect(await trusted.verify(token)).toMatchObject({ user: '42' })
})

test.each(attacks)('%s is refused', async (_, token, code) => {
  expect(await answerOf(() => trusted.verify(token))).toBe(code)
  // What is no login is no room token either, whatever else it is.
  if (code !== 'token_audience') expect(await answerOf(() => trusted.verifyRoomToken(token))).toBe(code)
})

test('a login as a room token is refused', async () => {
  for (const token of Object.values(good)) expect(await answerOf(() => trusted.verifyRoomToken(token))).toBe('token_audience')
})

/** The answer to a login with this token; absent when the connection is closed without one. */
async function loginAt(url: string, token: string): Promise<string | undefined> {
  await using raw = await openRaw(url)
  raw.send(`40${JSON.stringify({ token })}`)
  const answer = () => raw.packets.find((packet) => /^4[04]/.test(packet))
  await raw.until(() => answer() !== undefined).catch(() => undefined)
  return answer()
}

test('over a connection each is refused with its code, the fixed text of it, and nothing else', async () => {
  const issuers = [
    { name: 'pem', issuer: names.pem, publicKey: pem },
    { name: 'jwks', issuer: names.jwks, jwksFile: 'jwks.json' },
    { name: 'secret', issuer: names.secret, secret },
  ]
  const config = join(folder, 'sidecast.yaml')
  await writeFile(join(folder, 'jwks.json'), jwks)
  // JSON is YAML.
  await writeFile(config, JSON.stringify({ jwt: { issuers } }))
  await using bridge = await startTestBridge({ CONFIG: config, JWT_SECRET: '', JWT_CLOCK_TOLERANCE: '0s', REFUSALS_PER_IP: '0' })
  for (const token of Object.values(good)) expect(await loginAt(bridge.publicUrl, token)).toMatch(/^40/)
  const answers: (readonly [string, string | undefined])[] = []
  // A few at a time, so that a slow machine does not turn them away for another reason.
  for (let first = 0; first < attacks.length; first += 16) {
    const some = attacks.slice(first, first + 16)
    answers.push(...(await Promise.all(some.map(async ([name, token]) => [name, await loginAt(bridge.publicUrl, token)] as const))))
  }
  const expected = attacks.map(([name, { length }, code]) => {
    const { text: message, retryable: retry } = new BridgeError(code)
    // What is larger ends the connection before anybody looks at the token.
    return [name, length > 16_384 ? undefined : `44${JSON.stringify({ message, data: { code, message, retry } })}`]
  })
  expect(answers).toEqual(expected)
})
