import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Config, loadConfig } from '../src/config/config.ts'
import { maskedConfig } from '../src/config/masked.ts'
import { notesOn } from '../src/config/notes.ts'
import { BridgeError } from '../src/errors.ts'

const secret = randomBytes(48).toString('base64url')
const other = randomBytes(48).toString('base64url')
const apiKey = randomBytes(32).toString('hex')
const whsec = `whsec_${randomBytes(32).toString('base64')}`
const publicKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' }).toString()

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sidecast-logins-'))
  await writeFile(join(folder, 'secret'), `${other}\n`)
})
afterAll(() => rm(folder, { recursive: true }))

type Settings = Readonly<Record<string, string>>

const toEnvironment = (settings: Settings): Settings =>
  Object.fromEntries(Object.entries(settings).map(([name, value]) => [`SIDECAST_${name}`, value]))

/** With a configuration file of this content, when there is one. */
async function load(settings: Settings, yaml?: string): Promise<Config> {
  if (yaml !== undefined) await writeFile(join(folder, 'a.yaml'), yaml)
  return loadConfig({ args: yaml === undefined ? [] : ['--config', 'a.yaml'], env: toEnvironment(settings), cwd: folder })
}

async function problems(settings: Settings, yaml?: string): Promise<readonly string[]> {
  try {
    await load(settings, yaml)
    return []
  } catch (error) {
    if (error instanceof BridgeError && error.code === 'invalid_config') return error.errors.map(({ detail }) => detail)
    throw error
  }
}

describe('several issuers', () => {
  const two = `jwt:
  issuers:
    - { name: shop, issuer: https://shop.example/*, secretFile: secret, preset: laravel-tymon }
    - { name: staff, oidcIssuer: https://sso.example/realms/staff, preset: keycloak, authorized_party: [web, app], maxLife: 1h }`

  test('each has its own keys and rules, and a name', async () => {
    const { jwt } = await load({ JWT_SECRET: secret, JWT_USER_CLAIM: 'id' }, two)
    expect(jwt.issuers).toMatchObject([
      { name: 'login', issuers: [], userClaims: ['id'] },
      {
        name: 'shop',
        issuers: ['https://shop.example/*'],
        keys: [{ kind: 'file', path: join(folder, 'secret') }],
        userClaims: ['sub'],
        roomTemplates: ['role:{roles[]}'],
      },
      {
        name: 'staff',
        issuers: ['https://sso.example/realms/staff'],
        keys: [{ kind: 'oidc', issuer: 'https://sso.example/realms/staff' }],
        authorizedParties: ['web', 'app'],
        requiredClaims: ['typ=Bearer'],
        maxLifeMs: 3_600_000,
      },
    ])
    expect(jwt.signing?.issuer.name).toBe('login')
  })

  test('they are printed without their secrets', async () => {
    await writeFile(
      join(folder, 'a.yaml'),
      `jwt.issuers: [{ name: shop, secret: ${other}, issuer: a }]\napi_keys: [{ name: web, key: ${apiKey}, rooms: ["order:*"] }]`,
    )
    const printed = maskedConfig({ args: ['--config', 'a.yaml'], env: {}, cwd: folder })
    expect(printed).not.toContain(other)
    expect(printed).not.toContain(apiKey)
    expect(printed).toContain('SIDECAST_JWT_ISSUERS  # a.yaml:jwt.issuers[0]\n  name=shop\n  secret=********\n  issuer=a')
    expect(printed).toContain('  name=web\n  key=********\n  rooms=order:*')
  })

  test.each([
    [
      'jwt.issuers: [{ name: a, usrClaim: b, secretFile: secret }]',
      'SIDECAST_JWT_ISSUERS (a.yaml:jwt.issuers[0].usrClaim): is not known: did you mean userClaim?',
    ],
    ['jwt.issuers: [{ name: a, secret: short }]', 'SIDECAST_JWT_ISSUERS (a.yaml:jwt.issuers[0].secret): has 5 bytes'],
    ['jwt.issuers: [{ name: a, secretFile: absent }]', 'SIDECAST_JWT_ISSUERS (a.yaml:jwt.issuers[0].secretFile): '],
    [
      'jwt.issuers: [{ name: a, secretFile: secret, jwksUrl: "https://a" }]',
      '(a.yaml:jwt.issuers[0].secret): stands beside jwksUrl, and they exclude each other',
    ],
    ['jwt.issuers: [{ name: a, issuer: b }]', '(a.yaml:jwt.issuers[0]): has no keys: give one of secret, secretFile'],
    ['jwt.issuers: [{ issuer: b, secretFile: secret }]', '(a.yaml:jwt.issuers[0]): needs a name'],
    ['jwt.issuers: [{ name: a, secretFile: secret }, { name: b, jwksUrl: "https://b" }]', 'a and b take tokens of any iss'],
    ['jwt.issuers: [{ name: a, issuer: i, secretFile: secret }, { name: b, issuer: [j, i], jwksUrl: "https://b" }]', 'a and b both take the iss i'],
    [
      'jwt.issuers: [{ name: a, secretFile: secret, algorithms: RS256 }]',
      '(a.yaml:jwt.issuers[0].algorithms): holds RS256, which no configured key can verify',
    ],
    ['jwt.issuers: [{ name: a, jwksUrl: "https://a", preset: spring, algorithms: HS256 }]', 'holds HS256 together with a public key'],
    ['jwt.issuers: [{ name: a, secretFile: secret, preset: cognito }]', '(a.yaml:jwt.issuers[0].preset): says cognito, which signs with RS256'],
    ['jwt.issuers: [a, b]', 'SIDECAST_JWT_ISSUERS (a.yaml:jwt.issuers): must be a list of maps'],
    ['{ jwt.issuers: [{ name: a, secretFile: secret }], jwt.audience: x }', 'SIDECAST_JWT_AUDIENCE (a.yaml:jwt.audience): belongs to no issuer'],
    [
      `api_keys: [{ name: a, key: ${apiKey}, sha256: ${'ab'.repeat(32)} }]\njwt.secret_file: secret`,
      '(a.yaml:api_keys[0]): needs one of key, keyFile and sha256',
    ],
    [`api_keys: [{ name: a, key: ${apiKey}, rooms: "x*" }]\njwt.secret_file: secret`, '(a.yaml:api_keys[0].rooms): holds "x*"'],
    ['api_keys: [{ name: a, key: short }]\njwt.secret_file: secret', '(a.yaml:api_keys[0]): the key a has 5 characters'],
    ['signing_keys: [{ name: a, scopes: publish }]\njwt.secret_file: secret', '(a.yaml:signing_keys[0].secret): is needed'],
  ])('the file %j is refused', async (yaml, problem) => {
    const found = await problems({}, yaml)
    expect(found).toEqual([expect.stringContaining(problem)])
    expect(found.join()).not.toContain(apiKey)
  })

  test('a list stands in a file', async () => {
    expect(await problems({ JWT_SECRET: secret, JWT_ISSUERS: 'a' })).toEqual([
      expect.stringContaining('is a list that stands in a configuration file'),
    ])
  })
})

test('keys of publishers are maps or texts; two of one name are a rotation', async () => {
  const yaml = `api_keys:
  - { name: shop, key: ${apiKey}, rooms: "order:*", events: [order.*] }
  - { name: shop, sha256: ${'ab'.repeat(32)}, rooms: "order:*", events: [order.*] }
signing_keys: [{ name: erp, secret: "${whsec}", scopes: [publish, read] }]`
  const { http } = await load({ JWT_SECRET: secret }, yaml)
  expect(http.apiKeys).toMatchObject(
    [1, 2].map(() => ({ name: 'shop', rooms: [['order', ':', '*']], events: [['order', '.', '*']], scopes: ['publish'] })),
  )
  expect(http.signingKeys).toMatchObject([{ name: 'erp', scopes: ['publish', 'read'] }])
  expect((await load({ JWT_SECRET: secret, SIGNING_KEYS: `erp:${whsec}:read+publish` })).http.signingKeys).toEqual(http.signingKeys)
})

test.each<[Settings]>([
  [{ AUTHORIZE_CONNECT_URL: 'https://shop.example/connect', AUTHORIZE_SECRET: whsec }],
  [{ INTROSPECTION_URL: 'https://sso.example/introspect', INTROSPECTION_CLIENT_ID: 'a', INTROSPECTION_CLIENT_SECRET: 'b' }],
])('where the application or the authorization server decides, no key is needed: %j', async (settings) => {
  const { jwt, backend } = await load(settings)
  expect(jwt.issuers).toEqual([])
  expect(backend).toMatchObject({ timeoutMs: 2000, cacheMs: 10_000, forward: [] })
})

test('how long revocations are kept follows from how long tokens live', async () => {
  expect((await load({ JWT_SECRET: secret, JWT_MAX_LIFE: '1h' })).jwt.revocationAgeMs).toBe(3_630_000)
  const age = async (settings: Settings) => (await load({ JWT_SECRET: secret, REVOCATION_AGE: '10d', ...settings })).jwt.revocationAgeMs
  expect(await age({})).toBe(864_030_000)
  // The limit for tokens says nothing about the sessions of the application.
  expect(await age({ JWT_MAX_LIFE: '1h', AUTHORIZE_CONNECT_URL: 'https://shop.example/connect', AUTHORIZE_SECRET: whsec })).toBe(864_030_000)
  const introspection = { INTROSPECTION_URL: 'https://sso.example/introspect', INTROSPECTION_CLIENT_ID: 'a', INTROSPECTION_CLIENT_SECRET: 'b' }
  expect(await age({ JWT_MAX_LIFE: '1h', ...introspection })).toBe(3_630_000)
  const { jwt } = await load({ REVOCATION_AGE: '10d', ...introspection }, 'jwt.issuers: [{ name: a, issuer: i, secretFile: secret, maxLife: 1h }]')
  expect(jwt.revocationAgeMs).toBe(864_030_000)
})

const service = { SERVICE_JWT_AUDIENCE: 'sidecast' }
test.each<[Settings, string]>([
  [{ JWT_JWKS_URL: 'https://a', JWT_OIDC_ISSUER: 'https://a' }, 'SIDECAST_JWT_JWKS_URL (environment): stands beside SIDECAST_JWT_OIDC_ISSUER'],
  [{ JWT_PUBLIC_KEY: publicKey, JWT_JWKS_URL: 'https://a' }, 'SIDECAST_JWT_PUBLIC_KEY (environment): stands beside SIDECAST_JWT_JWKS_URL'],
  [{ JWT_JWKS_URL: 'ftp://a' }, 'SIDECAST_JWT_JWKS_URL (environment): must be an address'],
  [{ JWT_JWKS_URL: 'https://u:p@a' }, 'cannot hold a user or a password'],
  [{ JWT_OIDC_ISSUER: 'https://a/.well-known/openid-configuration' }, 'is the issuer alone'],
  [{ JWT_JWKS_FILE: 'absent.json' }, 'absent.json does not exist'],
  [{ JWT_JWKS_FILE: 'secret' }, 'SIDECAST_JWT_JWKS_FILE (environment): the JWKS is not JSON'],
  [{ JWT_SECRET: secret, JWT_ISSUER: '*' }, 'leave the variable out'],
  [{ JWT_SECRET: secret, JWT_ISSUER: 'https://shop.example*' }, 'the host must be whole'],
  [{ JWT_SECRET: secret, JWT_ISSUER: 'a*b' }, 'a * stands only at the end'],
  [{ JWT_SECRET: secret, JWT_AUDIENCE: 'sidecast:room' }, 'is set aside for tokens that open one room'],
  [{ JWT_SECRET: secret, JWT_PRESET: 'laravel' }, 'SIDECAST_JWT_PRESET (environment): must be one of laravel-tymon'],
  [{ JWT_SECRET: secret, JWT_PRESET: 'keycloak' }, 'says keycloak, which signs with RS256'],
  [{ JWT_JWKS_URL: 'https://a', JWT_PRESET: 'cognito', JWT_AUDIENCE: 'a' }, 'name the app client in SIDECAST_JWT_AUTHORIZED_PARTY'],
  [{ JWT_SECRET: secret, JWT_ROOM_TEMPLATES: 'role' }, 'SIDECAST_JWT_ROOM_TEMPLATES (environment): cannot hold "role"'],
  [{ JWT_SECRET: secret, AUTHORIZE_ROOMS_URL: 'https://a' }, 'SIDECAST_AUTHORIZE_SECRET: is needed with SIDECAST_AUTHORIZE_ROOMS_URL'],
  [{ JWT_SECRET: secret, AUTHORIZE_SECRET: whsec }, 'SIDECAST_AUTHORIZE_SECRET (environment): is of no use without'],
  [{ JWT_SECRET: secret, AUTHORIZE_ROOMS_URL: 'https://a', AUTHORIZE_SECRET: 'whsec_abc' }, 'has 2 bytes; at least 24 are needed'],
  [
    { AUTHORIZE_CONNECT_URL: 'https://a', AUTHORIZE_SECRET: whsec, AUTHORIZE_FORWARD: 'cookie' },
    'holds cookie, which any page could make the browser send',
  ],
  [{ JWT_SECRET: secret, AUTHORIZE_FORWARD: 'Host', AUTHORIZE_SECRET: whsec, AUTHORIZE_ROOMS_URL: 'https://a' }, 'cannot hold "Host"'],
  [
    { INTROSPECTION_URL: 'https://a', INTROSPECTION_CLIENT_ID: 'a' },
    'SIDECAST_INTROSPECTION_CLIENT_SECRET: is needed with SIDECAST_INTROSPECTION_URL',
  ],
  [{ JWT_SECRET: secret, SERVICE_JWT_SECRET: other }, 'SIDECAST_SERVICE_JWT_AUDIENCE: is needed'],
  [{ JWT_SECRET: secret, ...service }, 'SIDECAST_SERVICE_JWT_AUDIENCE (environment): is of no use without keys'],
  [{ JWT_SECRET: secret, JWT_AUDIENCE: 'x,sidecast', SERVICE_JWT_SECRET: other, ...service }, 'is also an audience of the logins of login'],
  [{ JWT_SECRET: secret, SERVICE_JWT_SECRET: secret, ...service }, 'holds the key of the logins of login, whose audience is not checked'],
  [{ JWT_JWKS_URL: 'https://a/jwks', SERVICE_JWT_JWKS_URL: 'https://a/jwks', ...service }, 'holds the key of the logins of login'],
  [
    { JWT_SECRET: secret, SERVICE_JWT_SECRET: other, SERVICE_JWT_JWKS_URL: 'https://a', ...service },
    'SIDECAST_SERVICE_JWT_SECRET (environment): stands beside',
  ],
  [{ JWT_SECRET: secret, SERVICE_JWT_SECRET: 'short', ...service }, 'has 5 bytes'],
  [{ JWT_SECRET: secret, SERVICE_JWT_SECRET: apiKey, API_KEYS: `a:${apiKey}`, ...service }, 'is also the API key a'],
  [{ JWT_SECRET: whsec, SIGNING_KEYS: `a:${whsec}` }, 'SIDECAST_JWT_SECRET (environment): is also the signing key a'],
  [{ JWT_SECRET: secret, SIGNING_KEYS: 'a:whsec_AAAA' }, 'the key a has 3 bytes; at least 24'],
  [{ JWT_SECRET: secret, TRUSTED_PROXIES: '0.0.0.0/0' }, 'everybody could then say to be at any address'],
  [{ JWT_SECRET: secret, TRUSTED_PROXIES: 'proxy' }, 'possible are addresses, CIDR'],
  [{ JWT_SECRET: secret, CONNECTIONS_PER_IP: '0' }, 'must be an integer from 1'],
])('%j is refused', async (settings, problem) => {
  expect(await problems(settings)).toEqual([expect.stringContaining(problem)])
})

test('the key of the logins may serve services under another audience', async () => {
  const { http } = await load({ JWT_SECRET: secret, JWT_AUDIENCE: 'web', SERVICE_JWT_SECRET: secret, ...service })
  expect(http.serviceJwt).toMatchObject({ audience: 'sidecast', scopeClaim: 'scope' })
})

test('a key of the logins is known for one in whichever file it stands', async () => {
  for (const name of ['one.pem', 'two.pem']) await writeFile(join(folder, name), publicKey)
  const shared = { JWT_PUBLIC_KEY_FILE: 'one.pem', SERVICE_JWT_PUBLIC_KEY_FILE: 'two.pem', ...service }
  expect(await problems(shared)).toEqual([expect.stringContaining('holds the key of the logins of login, whose audience is not checked')])
  expect(await problems({ ...shared, JWT_AUDIENCE: 'web' })).toEqual([])
  const files = { JWT_SECRET_FILE: 'secret', SERVICE_JWT_SECRET_FILE: 'secret', ...service }
  expect(await problems({ ...files, JWT_AUDIENCE: 'web' })).toEqual([])
  expect(await problems(files)).toEqual([expect.stringContaining('whose audience is not checked')])
})

test.each<[Settings, string | undefined]>([
  [{ JWT_JWKS_URL: 'http://sso.example/jwks', JWT_AUDIENCE: 'a' }, 'http://sso.example/jwks is called without TLS'],
  [{ JWT_JWKS_URL: 'http://127.0.0.1:8080/jwks', JWT_AUDIENCE: 'a' }, undefined],
  [{ JWT_OIDC_ISSUER: 'https://sso.example' }, 'its tokens for other applications count as logins'],
  [{ JWT_SECRET: secret, JWT_ISSUER: 'https://shop.example/api/auth/login' }, 'is pinned to the address of a login request'],
])('of %j a note says %j', async (settings, note) => {
  const notes = notesOn(await load({ ...settings, API_KEYS: `a:${apiKey}`, ALLOWED_ORIGINS: 'https://a.example' }))
  expect(notes).toEqual(note === undefined ? [] : [expect.stringContaining(note)])
})
