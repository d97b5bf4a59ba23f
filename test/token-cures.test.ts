import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { parseJwksFile } from '../src/auth/jwks.ts'
import { parsePublicKeys, parseSecret } from '../src/auth/keys.ts'
import { examine } from '../src/cli/token-checks.ts'
import { loadConfig } from '../src/config/config.ts'
import { ecdsa, encode, hmac, issuer, now, rsa, secret, signJws, token } from './auth/sign.ts'
import { createKey, startIssuer } from './auth/test-issuer.ts'

const rsaKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ecKey = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const pemOf = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString()
const claims = { sub: '42', exp: now + 60 }

/** What verify-token says about a token: the check that refuses it, and what to do. */
async function curesOf(text: string, issuers = [issuer()]) {
  const { checks } = await examine(text, { issuers, reservedAudiences: [], now: () => now * 1000 })
  return checks.filter(({ outcome }) => outcome === 'REFUSED').map(({ title, cures }) => [title, ...cures])
}
/** The issuers that settings (without SIDECAST_JWT_) make. */
const configured = (settings: Readonly<Record<string, string>>) =>
  loadConfig({
    args: [],
    cwd: '/',
    env: Object.fromEntries(Object.entries(settings).map(([name, value]) => [`SIDECAST_JWT_${name}`, value])),
  }).jwt.issuers.slice()
const fixed = (...keys: ReturnType<typeof parsePublicKeys>) => [{ kind: 'fixed' as const, keys }]

const good = token()
const [head = '', body = '', signature = ''] = good.split('.')
const whole = 'copy the whole token again'
const asked = 'the application can be asked about it (SIDECAST_AUTHORIZE_CONNECT_URL), or its issuer (SIDECAST_INTROSPECTION_URL)'

test('without a fault there is nothing to do', async () => {
  expect(await curesOf(good)).toEqual([])
})

test.each([
  ['nothing', '', 'nothing was given: is the variable empty, or did the command in front of the pipe print nothing?'],
  [
    'the whole header',
    `Authorization: Bearer ${good}`,
    'leave out the word Bearer and what stands in front of it: they belong to the HTTP header, the token begins behind them',
  ],
  ['one with quotes', `"${good}"`, 'leave out the quotes around it: they are not part of the token'],
  ['one with a quote and a comma behind it', `${good}",`, 'leave out the quotes around it: they are not part of the token'],
  [
    'the answer of a login',
    JSON.stringify({ token_type: 'bearer', id_token: good, access_token: good }),
    'this is the JSON that the token came in: give the value of access_token alone, without quotes',
  ],
  [
    'an answer with the token deep inside',
    JSON.stringify({ data: { jwt: good } }),
    'this is the JSON that the token came in: give the value of data.jwt alone, without quotes',
  ],
  ['the claims', JSON.stringify(claims), 'this is JSON, not a token: give the token as it was before somebody decoded it'],
  ['JSON that is nested very deeply', '{"a":'.repeat(20_000), 'this is JSON, not a token: give the token as it was before somebody decoded it'],
  [
    'the JSON form',
    JSON.stringify({ protected: head, payload: body, signature }),
    'it is in the JSON form of a signature (RFC 7515 7.2): let the application issue the compact one, three parts with dots between them',
  ],
  [
    'a wrapped one',
    `${good.slice(0, 20)}\n${good.slice(20)}`,
    `there are spaces or line ends within it: it was wrapped, or copied with something beside it; ${whole}`,
  ],
  [
    'one with = at its end',
    `${good}=`,
    'it is written in base64 in the place of base64url (RFC 7515 2): let the application write - for +, _ for / and no = at the end of a part; JWT libraries do',
  ],
  [
    'one with + and /',
    `${head}.${body}.${'+/'.repeat(20)}`,
    'it is written in base64 in the place of base64url (RFC 7515 2): let the application write - for +, _ for / and no = at the end of a part; JWT libraries do',
  ],
  ['one of Sanctum', '12|Vb5nPqRs', `it is a token of Laravel Sanctum, which says nothing in itself: ${asked}`],
  ['an opaque one', randomBytes(30).toString('hex'), `it is an opaque token, not a JWT: ${asked}`],
  ['a long opaque one', 'x'.repeat(9000), `it is an opaque token, not a JWT: ${asked}`],
  [
    'a cookie of Laravel',
    Buffer.from(JSON.stringify({ iv: 'eA==', value: 'eA==', mac: 'e8', tag: '' })).toString('base64'),
    'Laravel has encrypted it, as it does with its cookies: take that cookie out of the encryption (EncryptCookies), and give what is in it',
  ],
  ['one that is cut in its header', head.slice(0, 12), `it ends before its second part: it was cut; ${whole}`],
  ['one without its claims', head, `it ends before its second part: it was cut; ${whole}`],
  ['one that is cut in its claims', good.slice(0, head.length + 10), `it ends before its third part: it was cut; ${whole}`],
  [
    'an encrypted one',
    [encode({ alg: 'dir', enc: 'A256GCM' }), '', 'aXY', 'dGV4dA', 'dGFn'].join('.'),
    'five parts are an encrypted token (JWE), which cannot be used: let the application issue one that is only signed',
  ],
  ['one with an end of another', `${good}.${signature}`, `it has 4 parts between dots where a token has three: ${whole}, and nothing else`],
  ['one as an assignment', `token=${good}`, `it holds "=", which no token does: something was copied with it; ${whole}`],
  [
    'a long one',
    token({ permissions: Array.from({ length: 900 }, (_, index) => `orders:${index}`) }),
    'let the application say less in it: names of permissions, profiles and pictures make tokens long, and above 8192 characters none is looked at',
  ],
  ['one without claims', `${head}..${signature}`, `its second part is empty: ${whole}`],
  ['one that is cut in its signature', good.slice(0, -2), `its signature was cut or changed: ${whole}`],
  [
    'one that is cut at its beginning',
    good.slice(3),
    `its first part is not base64url of a JSON object: the beginning is missing, or it was changed on its way; ${whole}`,
  ],
  [
    'one around another',
    signJws({ alg: 'HS256' }, good, hmac(256, secret)),
    `its second part is not base64url of a JSON object: it was changed on its way (${whole}), or it holds another token: give the inner one`,
  ],
  [
    'one that says a thing twice',
    token('{"sub":"1","sub":"2"}'),
    'let the application write each name once: of two values one reader takes the first, another one the last',
  ],
  [
    'one with extensions',
    signJws({ alg: 'HS256', crit: ['b64'] }, claims, hmac(256, secret)),
    'let the application leave crit out of the header: it asks for extensions that the bridge does not have',
  ],
  [
    'one without an algorithm',
    signJws({ typ: 'JWT' }, claims, hmac(256, secret)),
    'let the application sign it with a JWT library, which writes the algorithm (alg) into the header',
  ],
])('in the place of a token %s gets its own cure', async (_, text, cure) => {
  expect(await curesOf(text)).toEqual([['form', cure]])
})

test('a token by the right secret with an algorithm that is not accepted is not taken for one by another secret', async () => {
  const text = signJws({ alg: 'HS512' }, claims, hmac(512, secret))
  const cause = 'HS512 is not among the algorithms that are accepted, HS256 (SIDECAST_JWT_ALGORITHMS, else those of the preset)'
  const add = 'if your application means to sign with it, set SIDECAST_JWT_ALGORITHMS=HS256,HS512'
  expect(await curesOf(text, configured({ SECRET: secret, ALGORITHMS: 'HS256' }))).toEqual([['signature', `${cause}: ${add}`]])
  const other = configured({ SECRET: Buffer.from(secret).toString('base64'), ALGORITHMS: 'HS256' })
  expect(await curesOf(text, other)).toEqual([
    ['signature', `${cause}: ${add}`, 'it is signed with this secret decoded from base64, as jjwt does: set SIDECAST_JWT_SECRET_ENCODING=base64'],
  ])
})

test.each([{ ALGORITHMS: 'RS256' }, { PRESET: 'laravel-passport' }])(
  'a token by the right key with an algorithm that is not accepted gets no word about the key: %j',
  async (settings) => {
    const issuers = configured({ PUBLIC_KEY: pemOf(rsaKey.publicKey), ...settings })
    const cause = 'RS512 is not among the algorithms that are accepted, RS256 (SIDECAST_JWT_ALGORITHMS, else those of the preset)'
    const cure = `${cause}: if your application means to sign with it, set SIDECAST_JWT_ALGORITHMS=RS256,RS512`
    expect(await curesOf(signJws({ alg: 'RS512' }, claims, rsa(512, rsaKey.privateKey)), issuers)).toEqual([['signature', cure]])
    // What the bridge would not start with is not proposed.
    expect(await curesOf(token(), issuers)).toEqual([
      [
        'signature',
        'HS256 is not among the algorithms that are accepted, RS256 (SIDECAST_JWT_ALGORITHMS, else those of the preset), and no configured key is for it',
        'it is signed with a secret (HS256): configure that one, SIDECAST_JWT_SECRET_FILE, in the place of public keys',
      ],
    ])
  },
)

test('a key that has signed the token and does not count says why', async () => {
  const jwk = { ...rsaKey.publicKey.export({ format: 'jwk' }), use: 'sig', kid: 'old' }
  const by = (keys: readonly object[]) => [issuer({ keys: fixed(...parseJwksFile(JSON.stringify({ keys }))) })]
  const text = signJws({ alg: 'RS256', kid: 'new' }, claims, rsa(256, rsaKey.privateKey))
  expect(await curesOf(text, by([jwk]))).toEqual([
    ['signature', 'the key "old" has signed it, but the token names the kid "new": give both the same one'],
  ])
  expect(await curesOf(text, by([{ ...jwk, kid: 'new', alg: 'PS256' }]))).toEqual([
    ['signature', 'the key "new" has signed it, but is for PS256: let the application sign with that, or correct the alg of the key in the JWKS'],
  ])
  const others = Array.from({ length: 20 }, () => parseSecret(randomBytes(32).toString('hex'), 'utf8'))
  expect(await curesOf(good, [issuer({ keys: fixed(...others, parseSecret(secret, 'utf8')) })])).toEqual([
    ['signature', 'the key has signed it, but only the first 20 keys are tried: give keys and tokens a kid each, or take old keys out'],
  ])
})

test('a signature that cannot be one is told by its length', async () => {
  const ec = [issuer({ keys: fixed(...parsePublicKeys(pemOf(ecKey.publicKey))) })]
  const withLength = (length: number, text = good) => `${text.slice(0, text.lastIndexOf('.'))}.${randomBytes(length).toString('base64url')}`
  expect(await curesOf(withLength(30))).toEqual([['signature', `its signature has 30 bytes, and HS256 makes 32: it was cut; ${whole}`]])
  expect(await curesOf(withLength(33))).toEqual([
    ['signature', `its signature has 33 bytes, and HS256 makes 32: it was copied with more behind it; ${whole}`],
  ])
  expect(await curesOf(withLength(0))).toEqual([['signature', `its signature is missing: behind the second dot there is nothing; ${whole}`]])
  const der = signJws({ alg: 'ES256' }, claims, (input) => {
    const [r, s] = [ecdsa(256, ecKey.privateKey)(input).subarray(0, 32), ecdsa(256, ecKey.privateKey)(input).subarray(32)]
    return Buffer.concat([Buffer.of(0x30, 68, 2, 32), r, Buffer.of(2, 32), s])
  })
  expect(await curesOf(der, ec)).toEqual([
    ['signature', 'its signature is written as OpenSSL does (DER): let the application write the 64 bytes of RFC 7518 3.4, as JWT libraries do'],
  ])
  const rsaIssuer = [issuer({ keys: fixed(...parsePublicKeys(pemOf(rsaKey.publicKey))) })]
  const byRsa = signJws({ alg: 'RS256' }, claims, rsa(256, rsaKey.privateKey))
  expect(await curesOf(withLength(250, byRsa), rsaIssuer)).toEqual([
    ['signature', `its signature of 250 bytes is of no RSA key: it was cut; ${whole}`],
  ])
  expect(await curesOf(withLength(512, byRsa), rsaIssuer)).toEqual([
    ['signature', 'it is signed with a key of 4096 bits, the configured ones have 2048: configure the public half of the one that signs'],
  ])
})

test('a token by the key of one issuer in the name of another one gets no cure that would let it in', async () => {
  const shop = issuer({ name: 'shop', issuers: ['https://shop.example'] })
  const staff = (...issuers: readonly string[]) => issuer({ name: 'staff', issuers, keys: fixed(...parsePublicKeys(pemOf(ecKey.publicKey))) })
  const said = 'the keys of shop have signed it'
  const forged = 'if shop has not made this token, somebody has forged it with its key'
  const iss = 'https://login.example/staff'
  expect(await curesOf(token({ iss }), [shop, staff(iss)])).toEqual([
    [
      'signature',
      `${said}, but its iss is that of staff, and two issuers cannot take the same one: let the application of shop write its own; ${forged}`,
    ],
  ])
  expect(await curesOf(token({ iss }), [shop, staff('https://login.example/*')])).toEqual([
    [
      'signature',
      `${said}, but its iss belongs to staff (https://login.example/*): if shop issues such tokens, add this very iss to it, which goes before a *; ${forged}`,
    ],
  ])
  expect(await curesOf(token({ iss }), [shop, staff()])).toEqual([['signature', `${said}: add this iss to that issuer`]])
  expect(await curesOf(token({ iss }), [shop, staff('https://staff.example')])).toEqual([['issuer', `${said}: add this iss to that issuer`]])
  expect(await curesOf(token(), [shop, staff(iss)])).toEqual([
    ['issuer', `${said}, but its iss is missing or no text: let the application write the one that shop has here`],
  ])
})

test.each([
  [
    { sub: 'x'.repeat(201) },
    'sub has 201 characters, and 200 are the limit: issue a shorter one, such as an id, or name another claim: SIDECAST_JWT_USER_CLAIM',
  ],
  [{ sub: '' }, 'sub is empty: issue a text of at least one character, or name another claim: SIDECAST_JWT_USER_CLAIM'],
  [{ sub: 'a\u200bb' }, 'sub has a character that nobody sees, U+200B in place 2: issue it without, or name another claim: SIDECAST_JWT_USER_CLAIM'],
  [
    { sub: 2 ** 53 },
    'sub is a number beyond 2^53, whose last digits are lost: issue it as a text, in quotes, or name another claim: SIDECAST_JWT_USER_CLAIM',
  ],
  [{ sub: 1.5 }, 'sub is a number with a fraction: issue a whole one, or a text, or name another claim: SIDECAST_JWT_USER_CLAIM'],
  [{ sub: { id: 7 } }, 'sub is an object: issue a text or a whole number, or name another claim: SIDECAST_JWT_USER_CLAIM'],
  [{ sub: undefined, id: 7 }, 'name the claim that holds the user: SIDECAST_JWT_USER_CLAIM'],
  [{ rooms: ['a', 'x'.repeat(201)] }, 'item 2 of rooms has 201 characters, and 200 are the limit: issue a shorter one, such as an id'],
  [{ rooms: ['a', null] }, 'item 2 of rooms is null: issue a text or a whole number'],
  [{ rooms: ['a*'] }, 'a * stands for a whole segment between : . or / (order:*), a ** for the rest and only at the end (order:**)'],
  [{ rooms: 'a' }, 'issue rooms as a list, such as ["news","order:*"], or name another claim: SIDECAST_JWT_ROOMS_CLAIM'],
])('of the claims %j it is said what is wrong with the value', async (change, cure) => {
  expect(await curesOf(token(change))).toEqual([['claims', cure]])
})

test('a rooms claim deep inside is looked at where it stands', async () => {
  expect(await curesOf(token({ access: { rooms: 'a' } }), [issuer({ roomsClaim: 'access.rooms' })])).toEqual([
    ['claims', 'issue access.rooms as a list, such as ["news","order:*"], or name another claim: SIDECAST_JWT_ROOMS_CLAIM'],
  ])
})

test('keys that were fetched and have not signed it are not called unreachable', async () => {
  await using server = await startIssuer(createKey('k'))
  const text = createKey('k').sign({ iat: now - 60 }, { kid: 'k' })
  const cures = [
    'key 1 of 1 (kid "k") has not signed it',
    'the key must be the one that the application signs with, of the same realm and environment: see SIDECAST_JWT_PUBLIC_KEY, SIDECAST_JWT_JWKS_URL',
  ]
  const issuers = [issuer({ keys: [{ kind: 'jwks', url: server.url }] })]
  expect(await curesOf(text, issuers)).toEqual([['signature', ...cures]])
  const young = createKey('k').sign({ iat: now }, { kid: 'k' })
  const again =
    'the keys that were fetched just now have not signed it, but it says that it is as new as they are: try again in 30 s, when the bridge fetches them again. If it is refused then too:'
  expect(await curesOf(young, issuers)).toEqual([['keys', again, ...cures]])
})
