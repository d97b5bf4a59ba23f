import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parsePublicKeys, parseSecret } from '../../src/auth/keys.ts'
import { answerOf, ecdsa, eddsa, encode, hmac, issuer, now, pss, rsa, type Signer, secret, signJws, verifier } from './sign.ts'

const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ecKey = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const edKey = generateKeyPairSync('ed25519')
const publicKeys = parsePublicKeys([rsaKey, ecKey, edKey].map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' })).join(''))
const { verify, verifyRoomToken } = verifier([
  issuer({ name: 'secret', issuers: ['https://secret'], keys: [{ kind: 'fixed', keys: [parseSecret(secret, 'utf8')] }] }),
  issuer({ name: 'public', keys: [{ kind: 'fixed', keys: publicKeys }] }),
])

interface Genuine {
  readonly text: string
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
  readonly signature: Buffer
}

function genuine(alg: string, signer: Signer, also: object = {}): Genuine {
  const header = { alg, typ: 'JWT', kid: 'key' }
  const claims = { sub: '42', exp: now + 60, rooms: ['a', 'order:*'], ...also }
  const text = signJws(header, claims, signer)
  return { text, header, claims, signature: Buffer.from(text.slice(text.lastIndexOf('.') + 1), 'base64url') }
}

const bySecret = { iss: 'https://secret' }
const cheap = [
  genuine('HS256', hmac(256, secret), bySecret),
  genuine('HS256', hmac(256, secret), { ...bySecret, sub: 'root', aud: 'sidecast:room', room: 'a' }),
  genuine('HS512', hmac(512, secret), bySecret),
]
const costly = [
  genuine('RS256', rsa(256, rsaKey.privateKey)),
  genuine('PS256', pss(256, rsaKey.privateKey)),
  genuine('ES256', ecdsa(256, ecKey.privateKey)),
  genuine('EdDSA', eddsa(edKey.privateKey), { iss: 'https://public' }),
]
const genuines = [...cheap, ...costly]
const originals = new Set(genuines.map(({ text }) => text))

const digits = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.']
// The expensive signatures are a twentieth: most of what is tried is not about the mathematics.
const any = fc.oneof({ weight: 19, arbitrary: fc.constantFrom(...cheap) }, { weight: 1, arbitrary: fc.constantFrom(...costly) })
const place = fc.nat(1000)
const partsOf = ({ text }: Genuine): readonly string[] => text.split('.')
const join = (header: unknown, claims: unknown, signature: Buffer): string =>
  `${encode(Object(header))}.${encode(Object(claims))}.${signature.toString('base64url')}`
const without = (members: Genuine['claims'], at: number) =>
  Object.fromEntries(Object.entries(members).filter((_, index, { length }) => index !== at % length))

const mutation = fc.oneof(
  // Characters: another, more of them, fewer, in another order, in other letters.
  fc.tuple(any, place, fc.constantFrom(...digits, '=', '+', '/', '\0', ' ', 'é', '\u2028')).map(([{ text }, at, digit]) => {
    const index = at % text.length
    return text.slice(0, index) + digit + text.slice(index + 1)
  }),
  fc.tuple(any, place, fc.nat(40)).map(([{ text }, at, length]) => text.slice(0, at % text.length) + text.slice((at % text.length) + length + 1)),
  fc
    .tuple(any, place, fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }))
    .map(([{ text }, at, more]) => text.slice(0, at % text.length) + more + text.slice(at % text.length)),
  fc.tuple(any, place).map(([{ text }, at]) => text.slice(at % text.length) + text.slice(0, at % text.length)),
  fc.tuple(any, place).map(([{ text }, at]) => text.slice(0, at % text.length) + text.slice(at % text.length).toUpperCase()),
  // Parts: of several tokens, in any order, too many, too few.
  fc.tuple(any, any, any).map(([one, two, three]) => [partsOf(one)[0], partsOf(two)[1], partsOf(three)[2]].join('.')),
  fc
    .array(
      any.chain((one) => fc.constantFrom(...partsOf(one), '')),
      { minLength: 1, maxLength: 6 },
    )
    .map((parts) => parts.join('.')),
  // Signatures: a bit, a length, another one, anything.
  fc.tuple(any, fc.nat(4000)).map(([{ header, claims, signature }, at]) => {
    const copy = Buffer.from(signature)
    const bit = at % (copy.length * 8)
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    return join(header, claims, copy)
  }),
  fc
    .tuple(any, fc.nat(600))
    .map(([{ header, claims, signature }, length]) => join(header, claims, Buffer.concat([signature, Buffer.alloc(600)]).subarray(0, length))),
  fc.tuple(any, fc.uint8Array({ maxLength: 300 })).map(([{ header, claims }, bytes]) => join(header, claims, Buffer.from(bytes))),
  // Headers and claims, written again without signing again.
  fc
    .tuple(
      any,
      fc.constantFrom('none', 'None', '', 'HS256', 'HS384', 'HS512', 'RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519', null, 0, []),
      fc.boolean(),
    )
    .map(([{ header, claims, signature }, alg, unsigned]) => join({ ...header, alg }, claims, unsigned ? Buffer.of() : signature)),
  fc
    .tuple(any, fc.constantFrom('kid', 'jwk', 'jku', 'x5c', 'x5u', 'crit', 'b64', 'typ', 'cty', 'zip', 'enc', '__proto__'), fc.json())
    .map(([{ header, claims, signature }, name, json]) =>
      join(Object.fromEntries([...Object.entries(header), [name, JSON.parse(json)]]), claims, signature),
    ),
  fc
    .tuple(any, fc.constantFrom('sub', 'iss', 'aud', 'exp', 'nbf', 'iat', 'rooms', 'jti', 'x', '__proto__'), fc.json())
    .map(([{ header, claims, signature }, name, json]) =>
      join(header, Object.fromEntries([...Object.entries(claims), [name, JSON.parse(json)]]), signature),
    ),
  fc.tuple(any, place).map(([{ header, claims, signature }, at]) => join(without(header, at), claims, signature)),
  fc.tuple(any, place).map(([{ header, claims, signature }, at]) => join(header, without(claims, at), signature)),
  fc
    .tuple(any, fc.json(), fc.json())
    .map(([{ signature }, header, claims]) => `${encode(header)}.${encode(claims)}.${signature.toString('base64url')}`),
  fc
    .tuple(any, fc.constantFrom(' ', '\n', '\t'))
    .map(([{ header, claims, signature }, space]) => join(header, JSON.stringify(claims, null, space), signature)),
  fc.string({ unit: 'binary', maxLength: 300 }),
)

test('two hundred thousand mutations of good tokens are all refused, each with a code', async () => {
  for (const { text, claims } of genuines)
    expect(await answerOf<unknown>(() => (claims.aud === undefined ? verify : verifyRoomToken)(text))).toMatchObject({ user: claims.sub })
  const answers = new Set<unknown>()
  await fc.assert(
    fc.asyncProperty(
      mutation.filter((mutant) => !originals.has(mutant)),
      fc.boolean(),
      async (mutant, isRoomToken) => {
        const answer = await answerOf<unknown>(() => (isRoomToken ? verifyRoomToken(mutant) : verify(mutant)))
        answers.add(answer)
        expect(answer).toMatch(/^token_(malformed|signature)$/)
      },
    ),
    { numRuns: 200_000 },
  )
  expect([...answers].sort()).toEqual(['token_malformed', 'token_signature'])
})
