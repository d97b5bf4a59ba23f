import { createHmac, generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTokenVerifier } from '../../src/auth/tokens.ts'
import { loadConfig } from '../../src/config/config.ts'
import type { Identity } from '../../src/core/identity.ts'
import { BridgeError, type ErrorCode } from '../../src/errors.ts'
import { startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { runSidecast } from '../support/sidecast.ts'
import { hmac, rsa, signJws } from './sign.ts'
import { createKey, json, startIssuer, type TestIssuer, type TestKey } from './test-issuer.ts'

const seconds = Math.floor(Date.now() / 1000)
const hour = 3600
const keyPair = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = keyPair.publicKey.export({ type: 'spki', format: 'pem' }).toString()
/** A secret as frameworks make it: text, and text that stands for bytes. */
const laravelSecret = randomBytes(48).toString('base64').replaceAll(/[+/=]/g, 'x')
const jhipsterSecret = randomBytes(64).toString('base64')

let folder = ''
let server: TestIssuer
const serverKey: TestKey = {
  ...createKey('k1'),
  jwk: { ...rsaJwk(keyPair.publicKey), kid: 'k1', use: 'sig', alg: 'RS256' },
  privateKey: keyPair.privateKey,
}

function rsaJwk(key: KeyObject): Readonly<Record<string, unknown>> {
  return key.export({ format: 'jwk' })
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sidecast-presets-'))
  await writeFile(join(folder, 'public.pem'), pem)
  server = await startIssuer()
  const discovery = json({ issuer: server.url, jwks_uri: `${server.url}/jwks` })
  server.answer = (request, response) =>
    (request.url?.endsWith('/openid-configuration') ? discovery : json({ keys: [serverKey.jwk] }))(request, response)
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

type Settings = Readonly<Record<string, string>>

const environment = (settings: Settings): Settings =>
  Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [`SIDECAST_JWT_${name}`, value.replace('SERVER', server.url).replace('FOLDER', folder)]),
  )

async function judge(token: string, settings: Settings): Promise<Identity | ErrorCode> {
  const { jwt } = loadConfig({ args: [], env: environment(settings), cwd: folder })
  const verifier = createTokenVerifier({ issuers: jwt.issuers, reservedAudiences: [], now: Date.now, onFailure: () => {} })
  try {
    return await verifier.verify(token)
  } catch (error) {
    if (error instanceof BridgeError) return error.code
    throw error
  } finally {
    verifier.close()
  }
}

const rs256 = (claims: object, header: object = {}): string => signJws({ typ: 'JWT', alg: 'RS256', ...header }, claims, rsa(256, keyPair.privateKey))
const dates = { iat: seconds, nbf: seconds, exp: seconds + hour }

/** A login as each issuer makes it, what is configured for it, and who it is then. */
interface Case {
  readonly settings: Settings
  readonly token: () => string
  readonly user: string
  readonly rooms: readonly string[]
  /** A token that the same key signs and that is no login; and why not. */
  readonly other?: readonly [() => string, ErrorCode]
}

const uuid = randomUUID()
const tymon = {
  iss: 'https://shop.example/api/auth/login',
  ...dates,
  jti: 'Xq2',
  sub: '42',
  prv: '23bd5c8949f600adb39e701c400872db7a5976f7',
  roles: ['editor', 'Shop Owner'],
}
const passport = {
  aud: '9c1',
  jti: 'f0',
  iat: seconds + 0.123456,
  nbf: seconds + 0.123461,
  exp: seconds + 31_536_000.098_123,
  sub: '42',
  scopes: ['orders:read'],
}
const lexik = { iat: seconds, exp: seconds + hour, roles: ['ROLE_USER', 'ROLE_ADMIN'], username: 'ann@example.com' }
const springServer = {
  sub: 'ann',
  aud: 'web',
  nbf: seconds,
  scope: ['openid', 'message.read'],
  iss: 'http://auth:9000',
  exp: seconds + 300,
  iat: seconds,
  jti: uuid,
}
const keycloak = {
  exp: seconds + 300,
  iat: seconds,
  auth_time: seconds,
  jti: `onrtac:${uuid}`,
  iss: 'SERVER',
  aud: 'account',
  sub: uuid,
  typ: 'Bearer',
  azp: 'shop',
  sid: 's-1',
  acr: '1',
  'allowed-origins': ['https://shop.example'],
  realm_access: { roles: ['offline_access', 'uma_authorization', 'buyer'] },
  resource_access: { account: { roles: ['view-profile'] } },
  scope: 'openid email profile',
  email_verified: true,
  preferred_username: 'ann',
}
const auth0 = {
  iss: 'SERVER',
  sub: 'auth0|123456',
  aud: ['https://api.shop.example', 'https://tenant.eu.auth0.com/userinfo'],
  iat: seconds,
  exp: seconds + 86_400,
  scope: 'openid read:orders',
  azp: 'client',
  permissions: ['read:orders'],
  'https://shop.example/roles': ['vip'],
}
const cognito = {
  sub: uuid,
  'cognito:groups': ['admins'],
  iss: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab',
  client_id: '7abc',
  origin_jti: uuid,
  event_id: uuid,
  token_use: 'access',
  scope: 'openid',
  auth_time: seconds,
  exp: seconds + hour,
  iat: seconds,
  jti: uuid,
  username: 'ann',
}
const wordpress = { iss: 'https://blog.example', iat: seconds, nbf: seconds, exp: seconds + 7 * 86_400, data: { user: { id: '7' } } }

/** The address of the server is known only when it runs. */
const here = <T extends object>(claims: T): T => JSON.parse(JSON.stringify(claims).replaceAll('SERVER', server.url)) as T

const cases: Readonly<Record<string, Case>> = {
  'laravel-tymon': {
    settings: { PRESET: 'laravel-tymon', SECRET: laravelSecret },
    token: () => signJws({ typ: 'JWT', alg: 'HS256' }, tymon, hmac(256, laravelSecret)),
    user: '42',
    rooms: ['user:42', 'role:editor', 'role:Shop Owner'],
  },
  'laravel-passport, with fractional dates': {
    settings: { PRESET: 'laravel-passport', PUBLIC_KEY_FILE: 'FOLDER/public.pem' },
    token: () => rs256(passport),
    user: '42',
    rooms: ['user:42', 'scope:orders%3Aread'],
    other: [() => rs256({ ...passport, sub: '' }), 'token_claims'],
  },
  'symfony-lexik, without sub, iss, aud and kid': {
    settings: { PRESET: 'symfony-lexik', PUBLIC_KEY_FILE: 'FOLDER/public.pem' },
    token: () => rs256(lexik),
    user: 'ann@example.com',
    rooms: ['user:ann@example.com', 'role:ROLE_USER', 'role:ROLE_ADMIN'],
  },
  'Spring Authorization Server': {
    settings: { PRESET: 'spring', JWKS_URL: 'SERVER/oauth2/jwks', ISSUER: 'http://auth:9000', AUDIENCE: 'web' },
    token: () => signJws({ kid: 'k1', alg: 'RS256' }, springServer, rsa(256, keyPair.privateKey)),
    user: 'ann',
    rooms: ['user:ann', 'scope:openid', 'scope:message.read'],
  },
  'Spring with a text of scopes': {
    settings: { PRESET: 'spring', JWKS_URL: 'SERVER/oauth2/jwks' },
    token: () => rs256({ ...springServer, scope: 'openid message.read' }, { kid: 'k1' }),
    user: 'ann',
    rooms: ['user:ann', 'scope:openid', 'scope:message.read'],
  },
  'JHipster, whose secret is base64 and whose roles are a text': {
    settings: { PRESET: 'spring', SECRET: jhipsterSecret, SECRET_ENCODING: 'base64' },
    token: () =>
      signJws({ alg: 'HS512' }, { sub: 'admin', exp: seconds + 86_400, auth: 'ROLE_ADMIN ROLE_USER', iat: seconds }, (input) =>
        createHmac('sha512', Buffer.from(jhipsterSecret, 'base64')).update(input).digest(),
      ),
    user: 'admin',
    rooms: ['user:admin', 'role:ROLE_ADMIN', 'role:ROLE_USER'],
  },
  keycloak: {
    settings: { PRESET: 'keycloak', OIDC_ISSUER: 'SERVER', AUTHORIZED_PARTY: 'shop' },
    token: () => rs256(here(keycloak), { kid: 'k1' }),
    user: uuid,
    rooms: [`user:${uuid}`, 'role:offline_access', 'role:uma_authorization', 'role:buyer'],
    other: [() => rs256(here({ ...keycloak, typ: 'ID', aud: 'shop' }), { kid: 'k1' }), 'token_claims'],
  },
  'keycloak without sub': {
    settings: { PRESET: 'keycloak', OIDC_ISSUER: 'SERVER' },
    token: () => rs256(here({ ...keycloak, sub: undefined, realm_access: undefined }), { kid: 'k1' }),
    user: 'ann',
    rooms: ['user:ann'],
  },
  auth0: {
    settings: { PRESET: 'auth0', OIDC_ISSUER: 'SERVER', AUDIENCE: 'https://api.shop.example' },
    token: () => rs256(here(auth0), { kid: 'k1' }),
    user: 'auth0|123456',
    rooms: ['user:auth0|123456', 'permission:read%3Aorders'],
    other: [() => rs256(here({ ...auth0, aud: 'client' }), { kid: 'k1' }), 'token_audience'],
  },
  'auth0 with the profile of RFC 9068, and a URL-named claim': {
    settings: { PRESET: 'auth0', OIDC_ISSUER: 'SERVER', ROOM_TEMPLATES: 'role:{https://shop.example/roles[]}' },
    token: () => rs256(here({ ...auth0, client_id: 'client', azp: undefined }), { kid: 'k1', typ: 'at+jwt' }),
    user: 'auth0|123456',
    rooms: ['user:auth0|123456', 'role:vip'],
    other: [() => rs256(here(auth0), { kid: 'k1', typ: 'logout+jwt' }), 'token_claims'],
  },
  cognito: {
    settings: { PRESET: 'cognito', JWKS_URL: 'SERVER/.well-known/jwks.json', AUTHORIZED_PARTY: '7abc' },
    token: () => signJws({ kid: 'k1', alg: 'RS256' }, cognito, rsa(256, keyPair.privateKey)),
    user: uuid,
    rooms: [`user:${uuid}`, 'group:admins'],
    other: [() => signJws({ kid: 'k1', alg: 'RS256' }, { ...cognito, token_use: 'id', aud: '7abc' }, rsa(256, keyPair.privateKey)), 'token_claims'],
  },
  wordpress: {
    settings: { PRESET: 'wordpress', SECRET: laravelSecret },
    token: () => signJws({ typ: 'JWT', alg: 'HS256' }, wordpress, hmac(256, laravelSecret)),
    user: '7',
    rooms: ['user:7'],
  },
  'wordpress with dates as texts': {
    settings: { PRESET: 'wordpress', SECRET: laravelSecret },
    token: () => signJws({ typ: 'JWT', alg: 'HS256' }, { ...wordpress, exp: String(wordpress.exp) }, hmac(256, laravelSecret)),
    user: '7',
    rooms: ['user:7'],
  },
}

describe.each(Object.entries(cases))('%s', (_, { settings, token, user, rooms, other }) => {
  test('its login tokens are logins', async () => {
    expect(await judge(token(), settings)).toMatchObject({ user, rooms })
  })

  if (other !== undefined) {
    const [make, code] = other
    test('its other tokens are none', async () => {
      expect(await judge(make(), settings)).toBe(code)
    })
  }

  test('verify-token says the same', async () => {
    for (const make of [token, ...(other === undefined ? [] : [other[0]])]) {
      const { exitCode, out } = await runSidecast(['verify-token', '-'], environment(settings), { input: make() })
      const verdict = await judge(make(), settings)
      expect({ exitCode, out }).toMatchObject({ exitCode: typeof verdict === 'string' ? 1 : 0 })
      expect(out).toContain(typeof verdict === 'string' ? `Refused: ${verdict}` : `rooms       ${verdict.rooms.join(', ')} at connect`)
    }
  })
})

test('what is set explicitly wins over the preset', async () => {
  const settings = { ...cases.keycloak?.settings, USER_CLAIM: 'preferred_username', ROOM_TEMPLATES: 'app:{azp}', REQUIRED_CLAIMS: 'typ=ID' }
  expect(await judge(rs256(here({ ...keycloak, typ: 'ID' }), { kid: 'k1' }), settings)).toMatchObject({
    user: 'ann',
    rooms: ['user:ann', 'app:shop'],
  })
  expect(await judge(rs256(here(keycloak), { kid: 'k1' }), settings)).toBe('token_claims')
})

test.each(['laravel-tymon', 'symfony-lexik, without sub, iss, aud and kid', 'keycloak'])(
  'a browser connects to a bridge with a login of %s',
  async (name) => {
    const { settings = {}, token, user, rooms } = cases[name] ?? {}
    const named = Object.entries(environment(settings)).map(([variable, value]) => [variable.slice('SIDECAST_'.length), value])
    await using bridge = await startTestBridge({ ...(settings.SECRET === undefined ? { JWT_SECRET: '' } : {}), ...Object.fromEntries(named) })
    await using session = connectSession(bridge.publicUrl, { token: token?.() ?? '' })
    expect((await session.notice('sidecast:ready')).data).toMatchObject({ user, rooms })
    const answer = await bridge.publish({ event: 'order', to: { rooms: [rooms?.at(-1)] } })
    expect(answer.matched).toBe(1)
    expect((await session.event()).event).toBe('order')
  },
)
