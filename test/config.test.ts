import { generateKeyPairSync, hash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { IssuerOptions } from '../src/auth/issuer.ts'
import { type Config, loadConfig } from '../src/config/config.ts'
import { maskedConfig } from '../src/config/masked.ts'
import { referenceTable } from '../src/config/reference.ts'
import { BridgeError } from '../src/errors.ts'

const sharedKey = randomBytes(32).toString('base64url')
const secret = randomBytes(48).toString('base64')
const key = randomBytes(32).toString('hex')
const { publicKey, privateKey } = generateKeyPairSync('ec', {
  namedCurve: 'P-256',
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
})
const rsa = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
})

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

async function folderWith(files: Readonly<Record<string, string | Buffer>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sidecast-config-'))
  folders.push(folder)
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), content)
  }
  return folder
}

interface Given {
  readonly args?: readonly string[]
  readonly cwd?: string
}

/** Loads with a valid secret, unless `settings` (names without SIDECAST_) says otherwise; undefined takes a variable away. */
function load(settings: Readonly<Record<string, string | undefined>> = {}, { args = [], cwd = '/' }: Given = {}): Config {
  return loadConfig({ args, env: toEnvironment({ JWT_SECRET: secret, ...settings }), cwd })
}

const toEnvironment = (settings: Readonly<Record<string, string | undefined>>) =>
  Object.fromEntries(Object.entries(settings).map(([name, value]) => [`SIDECAST_${name}`, value]))

/** The issuer that a configuration with one has. */
function onlyIssuer({ jwt: { issuers } }: Config): IssuerOptions {
  const [issuer, second] = issuers
  if (issuer === undefined || second !== undefined) throw new Error(`${issuers.length} issuers`)
  return issuer
}

/** What is wrong, a text each. */
function problems(settings: Readonly<Record<string, string | undefined>>, given: Given = {}): readonly string[] {
  try {
    load(settings, given)
  } catch (error) {
    if (!(error instanceof BridgeError)) throw error
    expect(error.code).toBe('invalid_config')
    for (const { detail } of error.errors) expect(error.message).toContain(detail)
    return error.errors.map(({ detail }) => detail)
  }
  return []
}

describe('what is in force', () => {
  test('a secret is enough, and everything else has the documented default', () => {
    const { jwt, ...rest } = load({}, { cwd: '/srv' })
    expect(rest).toEqual({
      gateway: {
        host: '0.0.0.0',
        port: 3000,
        tokenSources: [{ kind: 'auth' }, { kind: 'header' }],
        allowedOrigins: [],
        transports: ['websocket', 'polling'],
        serveClient: true,
        connectTimeoutMs: 10_000,
        pingIntervalMs: 25_000,
        pingTimeoutMs: 20_000,
        sessionsPerUser: 100,
        refusalsPerIp: 50,
        trustedProxies: [],
        roomsPerSession: 1000,
        maxBufferBytes: 1024 ** 2,
        maxBufferedBytes: 512 * 1024 ** 2,
        maxLagMs: 60_000,
      },
      http: {
        host: '127.0.0.1',
        port: 3001,
        apiKeys: [],
        signingKeys: [],
        maxEventBytes: 256 * 1024,
        maxBatchBytes: 16 * 1024 ** 2,
        metricsKey: false,
      },
      log: { directory: '/srv/data', durability: 'disk', retentionAgeMs: 300_000, retentionEvents: 1_000_000, dedupeWindowMs: 300_000 },
      drainLeadMs: 0,
      drainPeriodMs: 5000,
      workers: 1,
      logLevel: 'info',
    })
    const claims = { userClaims: ['sub'], roomsClaim: 'rooms', roomTemplates: [], clockToleranceMs: 30_000 }
    const { secret: signs, issuer, ...signing } = jwt.signing ?? {}
    expect(jwt).toMatchObject({ opaque: claims, clockToleranceMs: 30_000, revocationAgeMs: 400 * 86_400_000 + 30_000 })
    expect(jwt.issuers).toEqual([
      {
        ...claims,
        name: 'login',
        keys: [{ kind: 'fixed', keys: [{ key: signs, algorithms: ['HS256', 'HS384', 'HS512'] }] }],
        algorithms: [],
        issuers: [],
        audiences: [],
        authorizedParties: [],
        types: [],
        requiredClaims: [],
        requireExp: true,
        numericStringDates: false,
      },
    ])
    expect(issuer).toBe(jwt.issuers[0])
    expect(signing).toEqual({ algorithm: 'HS256' })
  })

  test('a flag wins over the environment, and the environment over the file', async () => {
    const cwd = await folderWith({ 'sidecast.yaml': 'jwt: { user_claim: file, issuer: file, audience: file }' })
    const args = ['--config', 'sidecast.yaml', '--jwt-user-claim', 'flag']
    const issuer = onlyIssuer(load({ JWT_USER_CLAIM: 'environment', JWT_ISSUER: 'environment' }, { args, cwd }))
    expect(issuer).toMatchObject({ userClaims: ['flag'], issuers: ['environment'], audiences: ['file'] })
  })

  test('a flag takes its value after a space or an equals sign', () => {
    expect(load({}, { args: ['--public-port', '1', '--private-port=2', '--jwt-issuer=a=--b'] })).toMatchObject({
      gateway: { port: 1 },
      http: { port: 2 },
      jwt: { issuers: [{ issuers: ['a=--b'] }] },
    })
  })

  test.each([
    'jwt:\n  user_claim: id',
    'jwt: { userClaim: id }',
    'jwt.user_claim: id',
    'jwt.userClaim: id',
    'jwt_user_claim: id',
    'jwt: { user: { claim: id } }',
  ])('the file may nest its names or not: %j', async (yaml) => {
    const cwd = await folderWith({ 'sidecast.yaml': yaml })
    expect(onlyIssuer(load({ CONFIG: 'sidecast.yaml' }, { cwd })).userClaims).toEqual(['id'])
  })

  test('a list in the file may be a YAML list or one text', async () => {
    const cwd = await folderWith({
      'a.yaml':
        'jwt.user_claim: [sub, "data.user.id"]\nallowed_origins:\n  - https://a.example\n  - https://b.example\ntransports: polling, websocket',
    })
    expect(load({ CONFIG: 'a.yaml' }, { cwd })).toMatchObject({
      jwt: { issuers: [{ userClaims: ['sub', 'data.user.id'] }] },
      gateway: { allowedOrigins: ['https://a.example', 'https://b.example'], transports: ['polling', 'websocket'] },
    })
  })

  test('texts in the file stay the texts that they are', async () => {
    const cwd = await folderWith({ 'a.yaml': 'jwt: { issuer: 0123, audience: 1e3, require_exp: false }' })
    expect(onlyIssuer(load({ CONFIG: 'a.yaml' }, { cwd }))).toMatchObject({ issuers: ['0123'], audiences: ['1e3'], requireExp: false })
  })

  test('paths in the file start from its folder, others from the working directory', async () => {
    const cwd = await folderWith({ 'etc/sidecast.yaml': 'jwt.secret_file: secret\ndata_dir: data', 'etc/secret': secret, 'other/secret': secret })
    expect(loadConfig({ args: ['--config', 'etc/sidecast.yaml'], env: {}, cwd }).log.directory).toBe(join(cwd, 'etc/data'))
    expect(load({ JWT_SECRET: undefined, JWT_SECRET_FILE: 'other/secret', DATA_DIR: 'here' }, { cwd }).log.directory).toBe(join(cwd, 'here'))
  })

  test('the line end at the end of a secret file does not count, and only that one', async () => {
    const cwd = await folderWith({ unix: `${secret}\n`, windows: `${secret}\r\n`, two: `${secret}\n\n` })
    const read = (file: string) => load({ JWT_SECRET: undefined, JWT_SECRET_FILE: file }, { cwd }).jwt.signing?.secret.export().toString()
    expect(read('unix')).toBe(secret)
    expect(read('windows')).toBe(secret)
    expect(read('two')).toBe(`${secret}\n`)
  })

  test('durations come in milliseconds and sizes in bytes', () => {
    const { log, drainPeriodMs, http } = load({ RETENTION_AGE: '7d', DEDUPE_WINDOW: '24h', DRAIN_PERIOD: '500ms', MAX_EVENT_SIZE: '2KB' })
    expect(log).toMatchObject({ retentionAgeMs: 7 * 86_400_000, dedupeWindowMs: 86_400_000 })
    expect(drainPeriodMs).toBe(500)
    expect(http.maxEventBytes).toBe(2048)
  })

  test('every kind of token source is understood', () => {
    const settings = { TOKEN_SOURCES: 'cookie:jwt_token, cookie:jwt_hp+jwt_s,query:token,auth,header', ALLOWED_ORIGINS: 'https://a.example' }
    expect(load(settings).gateway.tokenSources).toEqual([
      { kind: 'cookie', names: ['jwt_token'] },
      { kind: 'cookie', names: ['jwt_hp', 'jwt_s'] },
      { kind: 'query', name: 'token' },
      { kind: 'auth' },
      { kind: 'header' },
    ])
  })

  test('origins become what browsers send', () => {
    const { allowedOrigins } = load({
      ALLOWED_ORIGINS: 'HTTPS://Shop.Example:443,http://localhost:8080,capacitor://localhost,https://bücher.example',
    }).gateway
    expect(allowedOrigins).toEqual(['https://shop.example', 'http://localhost:8080', 'capacitor://localhost', 'https://xn--bcher-kva.example'])
  })

  test('public keys are PEM, several of them, and their line ends may be written \\n', () => {
    const { jwt } = load({ JWT_SECRET: undefined, JWT_PUBLIC_KEY: `${publicKey}${rsa.publicKey}`.replaceAll('\n', '\\n') })
    const keys = jwt.issuers.flatMap((issuer) => issuer.keys.flatMap((origin) => (origin.kind === 'fixed' ? origin.keys : [])))
    expect(keys.map(({ algorithms }) => algorithms)).toEqual([['ES256'], ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']])
    expect(jwt.signing).toBeUndefined()
  })

  test('development tokens are signed with the first algorithm that is accepted', () => {
    expect(load().jwt.signing?.algorithm).toBe('HS256')
    expect(load({ JWT_ALGORITHMS: 'HS512,HS256' }).jwt).toMatchObject({
      issuers: [{ algorithms: ['HS512', 'HS256'] }],
      signing: { algorithm: 'HS512' },
    })
  })

  test('of API keys only the name, the hash and the scopes remain; without scopes a key may publish', () => {
    const sha256 = hash('sha256', key, 'buffer')
    const other = randomBytes(32)
    const { apiKeys } = load({ API_KEYS: `shop:${key},ops:sha256:${other.toString('hex')}:admin+read` }).http
    expect(apiKeys).toEqual([
      { name: 'shop', sha256, scopes: ['publish'] },
      { name: 'ops', sha256: other, scopes: ['read', 'admin'] },
    ])
  })

  test('a file of API keys may have one on each line', async () => {
    const cwd = await folderWith({ keys: `a:${key}\nb:${sharedKey}:read\n` })
    expect(load({ API_KEYS_FILE: 'keys' }, { cwd }).http.apiKeys.map(({ name }) => name)).toEqual(['a', 'b'])
  })

  test('an API key with limits is a map in the file, as docs/http.md shows it', async () => {
    const page = await readFile(new URL('../docs/http.md', import.meta.url), 'utf8')
    const [, example = ''] = /```yaml\n( +api_keys:[\s\S]*?)```/.exec(page) ?? []
    const digest = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'
    const text = example.replace('9f86d0…', digest).replaceAll(/^ {2}/gm, '')
    expect(text).toContain(digest)
    const cwd = await folderWith({ 'sidecast.yaml': text })
    const [chat] = load({}, { args: ['--config=sidecast.yaml'], cwd }).http.apiKeys
    expect(chat).toMatchObject({ name: 'chat', scopes: ['publish', 'read'], rooms: [expect.anything()], events: [expect.anything()] })
  })

  test('workers are a number, or as many as there are cores', () => {
    expect(load({ WORKERS: '8' }).workers).toBe(8)
    expect(load({ WORKERS: 'auto' }).workers).toBe(Math.min(availableParallelism(), 64))
    for (const wrong of ['0', '65', '-1', 'all'])
      expect(problems({ WORKERS: wrong }).join()).toContain('SIDECAST_WORKERS (environment): must be auto or an integer from 1 to 64')
  })

  test('what belongs to the tests and to publishing is no configuration', () => {
    expect(problems({ TEST_REDIS_URL: 'redis://x', URL: 'http://127.0.0.1:3001', API_KEY: key, WORKERS: '1' })).toEqual([])
  })
})

describe('what is wrong', () => {
  test('everything is told at once, with the variable, where it came from and the cure', async () => {
    const cwd = await folderWith({ 'sidecast.yaml': 'log: { level: loud }' })
    const args = ['--config=sidecast.yaml', '--public-port', '99999', '--jwt-usr-claim', 'x']
    expect(problems({ JWT_SECRET: 'short', RETENTION_AGE: '5', ALLOWED_ORIGIN: 'https://a.example' }, { args, cwd })).toEqual([
      'SIDECAST_ALLOWED_ORIGIN (environment): is not known: did you mean SIDECAST_ALLOWED_ORIGINS?',
      'SIDECAST_JWT_USR_CLAIM (flag --jwt-usr-claim): is not known: did you mean --jwt-user-claim?',
      'SIDECAST_PUBLIC_PORT (flag --public-port): must be an integer from 0 to 65535',
      'SIDECAST_RETENTION_AGE (environment): must be a duration such as 500ms, 30s, 5m, 24h or 7d',
      'SIDECAST_LOG_LEVEL (sidecast.yaml:log.level): must be one of trace, debug, info, warn, error, fatal, silent',
      'SIDECAST_JWT_SECRET (environment): has 5 bytes; at least 32 are needed (openssl rand -base64 48)',
    ])
  })

  test('a secret and a public key exclude each other, also where the public key cannot be read', () => {
    expect(problems({ JWT_PUBLIC_KEY: 'no key' })).toEqual([
      expect.stringContaining('SIDECAST_JWT_PUBLIC_KEY (environment): holds no PEM block'),
      expect.stringContaining('SIDECAST_JWT_SECRET (environment): stands beside SIDECAST_JWT_PUBLIC_KEY, and they exclude each other'),
    ])
  })

  test('a file that lies there and was not named is pointed out where something needed is missing', async () => {
    const cwd = await folderWith({ 'sidecast.yaml': 'jwt: { issuer: a }' })
    const hint = 'SIDECAST_CONFIG: is not set, so that sidecast.yaml in this folder is not read: --config sidecast.yaml'
    expect(problems({ JWT_SECRET: undefined }, { cwd })).toContain(hint)
    expect(problems({ PUBLIC_PORT: 'x' }, { cwd })).not.toContain(hint)
  })

  test('no message repeats a secret', () => {
    const wrong = 'Tr0ub4dor&3'
    const all = problems({ JWT_SECRET: wrong, API_KEYS: `${wrong},shop:${wrong}` }).concat(problems({ API_KEYS: `shop:${key}:${wrong}` }))
    expect(all.join('\n')).not.toContain(wrong)
    expect(all).toHaveLength(4)
  })

  test.each([
    [{ JWT_SECRET: undefined }, 'SIDECAST_JWT_SECRET: is needed, or SIDECAST_JWT_PUBLIC_KEY'],
    [{ JWT_SECRET: undefined }, 'or SIDECAST_JWT_JWKS_FILE: the key of your application'],
    [{ JWT_SECRET: undefined }, 'SIDECAST_AUTHORIZE_CONNECT_URL, or SIDECAST_INTROSPECTION_URL'],
    [{ JWT_PUBLIC_KEY: publicKey }, 'SIDECAST_JWT_SECRET (environment): stands beside SIDECAST_JWT_PUBLIC_KEY'],
    [{ JWT_SECRET: sharedKey, API_KEYS: `shop:${sharedKey}` }, 'SIDECAST_JWT_SECRET (environment): is also the API key shop'],
    [{ JWT_SECRET: 'change-me-change-me-change-me-change-me' }, 'SIDECAST_JWT_SECRET (environment): is a placeholder'],
    [{ JWT_SECRET: `${secret}!`, JWT_SECRET_ENCODING: 'base64' }, 'SIDECAST_JWT_SECRET (environment): is not base64'],
    [{ JWT_SECRET: publicKey }, 'SIDECAST_JWT_SECRET (environment): is a PEM key'],
    [{ JWT_SECRET_ENCODING: 'rot13' }, 'SIDECAST_JWT_SECRET_ENCODING (environment): must be one of utf8, base64, base64url, hex'],
    [{ JWT_SECRET: undefined, JWT_PUBLIC_KEY: privateKey }, 'SIDECAST_JWT_PUBLIC_KEY (environment): holds a private key'],
    [{ JWT_SECRET: undefined, JWT_PUBLIC_KEY: 'no key' }, 'SIDECAST_JWT_PUBLIC_KEY (environment): holds no PEM block'],
    [{ JWT_ALGORITHMS: 'none' }, 'SIDECAST_JWT_ALGORITHMS (environment): cannot hold "none"'],
    [{ JWT_ALGORITHMS: ',' }, 'SIDECAST_JWT_ALGORITHMS (environment): is empty'],
    [{ JWT_ALGORITHMS: 'HS256,RS256' }, 'SIDECAST_JWT_ALGORITHMS (environment): holds RS256, which no configured key can verify'],
    [
      { JWT_SECRET: undefined, JWT_PUBLIC_KEY: publicKey, JWT_ALGORITHMS: 'ES256,HS256' },
      'SIDECAST_JWT_ALGORITHMS (environment): holds HS256 together with a public key',
    ],
    [{ JWT_ISSUER: '' }, 'SIDECAST_JWT_ISSUER (environment): is empty'],
    [{ JWT_REQUIRE_EXP: 'yes' }, 'SIDECAST_JWT_REQUIRE_EXP (environment): must be one of true, false'],
    [{ TOKEN_SOURCES: 'cookie:jwt' }, 'SIDECAST_TOKEN_SOURCES (environment): holds a cookie'],
    [{ TOKEN_SOURCES: 'body' }, 'SIDECAST_TOKEN_SOURCES (environment): cannot hold "body"'],
    [{ TRANSPORTS: 'webtransport' }, 'SIDECAST_TRANSPORTS (environment): cannot hold "webtransport"'],
    [{ PUBLIC_HOST: 'http://localhost' }, 'SIDECAST_PUBLIC_HOST (environment): must be an address or a host name alone'],
    [{ PUBLIC_PORT: '3001' }, 'SIDECAST_PRIVATE_PORT: puts both listeners on the port 3001'],
    [{ PUBLIC_PORT: '7', PRIVATE_PORT: '7', PUBLIC_HOST: '127.0.0.1' }, 'SIDECAST_PRIVATE_PORT (environment): puts both listeners on the port 7'],
    [{ PUBLIC_PORT: '-1' }, 'SIDECAST_PUBLIC_PORT (environment): must be an integer from 0 to 65535'],
    [{ PRIVATE_PORT: 'tcp://10.0.0.1:3001' }, 'SIDECAST_PRIVATE_PORT (environment): was set by Kubernetes'],
    [{ SERVICE_HOST: '10.0.0.1' }, 'SIDECAST_SERVICE_HOST (environment): is not known: if Kubernetes set it'],
    [{ MAX_EVENT_SIZE: '1000' }, 'SIDECAST_MAX_EVENT_SIZE (environment): must be a size such as 512b, 64kb, 1mb or 1gb'],
    [{ MAX_BUFFER: '2kb' }, 'SIDECAST_MAX_BUFFER (environment): is less than SIDECAST_MAX_EVENT_SIZE'],
    [{ MAX_BATCH_SIZE: '2kb' }, 'SIDECAST_MAX_BATCH_SIZE (environment): is less than SIDECAST_MAX_EVENT_SIZE'],
    [{ PING_INTERVAL: '30d' }, 'SIDECAST_PING_INTERVAL (environment): must lie between 100ms and 1h'],
    [{ METRICS_KEY: 'true', API_KEYS: `shop:${key}` }, 'SIDECAST_METRICS_KEY (environment): closes the metrics to everybody'],
    [{ API_KEYS: `shop:${key},shop:${key}x:read` }, 'SIDECAST_API_KEYS (environment): holds two keys with the name shop that allow different things'],
    [{ API_KEYS: `shop:${key},shop:${key}` }, 'SIDECAST_API_KEYS (environment): holds the same key of shop twice'],
    [{ API_KEYS: `shop:${key},blog:${key}` }, 'SIDECAST_API_KEYS (environment): gives shop and blog the same key'],
    [{ API_KEYS: 'shop:short' }, 'SIDECAST_API_KEYS (environment): the key shop has 5 characters; at least 32 are needed'],
    [{ API_KEYS: `shop:${'your-secret-key-here'.repeat(2)}` }, 'SIDECAST_API_KEYS (environment): the key shop is a placeholder'],
    [{ API_KEYS: 'shop:sha256:abc' }, 'SIDECAST_API_KEYS (environment): the key shop must have 64 hex digits after sha256:'],
    [{ API_KEYS: `shop:${key}:write` }, 'SIDECAST_API_KEYS (environment): the key shop must be followed by nothing or by :scope+scope'],
    [{ API_KEYS: key }, 'SIDECAST_API_KEYS (environment): entry 1 must be name:key[:scope+scope] such as shop:KEY'],
    [{ API_KEYS: `shop:${key}:publish,read` }, 'SIDECAST_API_KEYS (environment): entry 2 is the scope read alone: scopes are joined with +'],
    [
      { JWT_SECRET: undefined, JWT_PUBLIC_KEY: '/etc/sidecast/public.pem' },
      'SIDECAST_JWT_PUBLIC_KEY (environment): holds no PEM block (-----BEGIN PUBLIC KEY-----): for a file use SIDECAST_JWT_PUBLIC_KEY_FILE',
    ],
    [{ AMQP_URL: 'http://broker' }, 'SIDECAST_AMQP_URL (environment): must be amqp://user:password@host:port/vhost'],
    [{ AMQP_URL: 'amqp://broker/a/b' }, 'SIDECAST_AMQP_URL (environment): must end with one vhost; a slash in its name is %2F'],
    [{ AMQP_URL: 'amqp://broker?frameMax=0' }, 'SIDECAST_AMQP_URL (environment): may have only heartbeat='],
    [{ AMQP_URL: 'amqp://u:50%@broker' }, 'SIDECAST_AMQP_URL (environment): has a % that is not followed by two hex digits'],
    [{ AMQP_CA: 'none' }, 'SIDECAST_AMQP_CA (environment): holds no certificate'],
    [{ AMQP_QUEUE: 'amq.events' }, 'SIDECAST_AMQP_QUEUE (environment): cannot begin with amq.'],
    [{ AMQP_BINDINGS: 'orders' }, 'SIDECAST_AMQP_BINDINGS (environment): cannot hold "orders": write exchange:key'],
    [{ AMQP_PREFETCH: '0' }, 'SIDECAST_AMQP_PREFETCH (environment): must be an integer from 1 to 2000'],
    [{ AMQP_DEAD_LETTER: 'sidecast.events' }, 'SIDECAST_AMQP_DEAD_LETTER (environment): is also where events come from'],
    [{ REDIS_URL: 'http://h' }, 'SIDECAST_REDIS_URL (environment): must be redis://'],
    [{ REDIS_URL: 'redis://a,b' }, 'SIDECAST_REDIS_URL (environment): names several hosts'],
    [{ REDIS_URL: 'redis://h:x' }, 'SIDECAST_REDIS_URL (environment): names no host and port'],
    [{ REDIS_URL: 'redis://u:p%zz@h' }, 'SIDECAST_REDIS_URL (environment): has a % that'],
    [{ REDIS_URL: 'redis://h/x' }, 'SIDECAST_REDIS_URL (environment): must end with the number of a database'],
    [{ REDIS_URL: 'redis+sentinel://a,b' }, 'SIDECAST_REDIS_URL (environment): does not say what the sentinels call the master'],
    [{ REDIS_URL: 'redis://h', REDIS_PREFIX: '{a}' }, 'SIDECAST_REDIS_PREFIX (environment): must be 1 to 64'],
    [{ PORT: '3000' }, 'SIDECAST_PORT (environment): is not known: did you mean SIDECAST_PUBLIC_PORT?'],
    [{ COMPLETELY_UNKNOWN: '1' }, 'SIDECAST_COMPLETELY_UNKNOWN (environment): is not known: remove it'],
  ])('%j is refused', (settings, problem) => {
    const found = problems(settings)
    expect(found).toHaveLength(1)
    expect(found[0]).toContain(problem)
  })

  test.each([
    'https://a.example/',
    'https://a.example/path',
    '*',
    'https://*.example',
    'a.example',
    'null',
    'https://u@a.example',
    'https://a.example?x',
  ])('%j is no exact origin', (origin) => {
    expect(problems({ ALLOWED_ORIGINS: origin })).toEqual([expect.stringContaining(`holds ${JSON.stringify(origin)}, which is no exact origin`)])
  })

  test('of a list, each item that is wrong is told', () => {
    const told = problems({
      ALLOWED_ORIGINS: 'a.example,https://good.example,https://b.example/',
      API_KEYS: 'a,b:short',
      TRANSPORTS: 'carrier,pigeon',
    })
    expect(told).toHaveLength(6)
    for (const wrong of [
      'holds "a.example"',
      'holds "https://b.example/"',
      'entry 1 must be name:key',
      'the key b has 5 characters',
      'hold "carrier"',
      'hold "pigeon"',
    ])
      expect(
        told.filter((line) => line.includes(wrong)),
        wrong,
      ).toHaveLength(1)
  })

  test('Redis is one server, or what sentinels know', () => {
    const redisOf = (url: string) => load({ REDIS_URL: url }).redis?.endpoint
    expect(redisOf('redis://h')).toEqual({ servers: [{ host: 'h', port: 6379 }], tls: false, database: 0 })
    expect(redisOf('rediss://u:p%40w@[::1]:7000/3')).toEqual({
      servers: [{ host: '::1', port: 7000 }],
      tls: true,
      username: 'u',
      password: 'p@w',
      database: 3,
    })
    expect(redisOf('redis+sentinel://:w@a,b:5000/main/2')).toEqual({
      servers: [
        { host: 'a', port: 26_379 },
        { host: 'b', port: 5000 },
      ],
      master: 'main',
      tls: false,
      password: 'w',
      database: 2,
    })
  })

  test('the same port is no conflict on different addresses, and a free one never is', () => {
    expect(problems({ PUBLIC_HOST: '10.0.0.1', PUBLIC_PORT: '3001' })).toEqual([])
    expect(problems({ PUBLIC_PORT: '0', PRIVATE_PORT: '0' })).toEqual([])
  })

  test('a secret and its file together are refused, wherever they come from', async () => {
    const cwd = await folderWith({ secret, 'a.yaml': 'jwt.secret_file: secret' })
    expect(problems({ CONFIG: 'a.yaml' }, { cwd })).toEqual([
      'SIDECAST_JWT_SECRET_FILE (a.yaml:jwt.secret_file): stands beside SIDECAST_JWT_SECRET (environment): give one of the two',
    ])
  })

  test('a secret file that is of no use is named, and nothing else is said to be missing', async () => {
    const cwd = await folderWith({ empty: '\n', binary: Buffer.from([0xff, 0xfe, 0xfd]), short: 'short' })
    const found = (file: string) => problems({ JWT_SECRET: undefined, JWT_SECRET_FILE: file }, { cwd })
    expect(found('absent')).toEqual([`SIDECAST_JWT_SECRET_FILE (environment): ${join(cwd, 'absent')} does not exist`])
    expect(found('.')).toEqual([`SIDECAST_JWT_SECRET_FILE (environment): ${cwd} is a folder`])
    expect(found('empty')).toEqual([`SIDECAST_JWT_SECRET_FILE (environment): ${join(cwd, 'empty')} is empty`])
    expect(found('binary')).toEqual([`SIDECAST_JWT_SECRET_FILE (environment): ${join(cwd, 'binary')} is not UTF-8 text`])
    expect(found('short')).toEqual([expect.stringContaining(`SIDECAST_JWT_SECRET (${join(cwd, 'short')}, by SIDECAST_JWT_SECRET_FILE): has 5 bytes`)])
  })

  test.each([
    ['a: [', 'SIDECAST_CONFIG (environment): a.yaml is not usable YAML at line 1'],
    ['jwt: *absent', 'SIDECAST_CONFIG (environment): a.yaml is not usable YAML'],
    ['allowed_origins: *', 'Text that begins with * needs quotes; origins are named one by one, * is not possible'],
    ['allowed_origins: "*"', 'no path and no *'],
    ['SIDECAST_JWT_SECRET: x', 'SIDECAST_SIDECAST_JWT_SECRET (a.yaml:SIDECAST_JWT_SECRET): is not known: write it as jwt_secret'],
    ['- jwt', 'SIDECAST_CONFIG (environment): a.yaml must hold keys and values'],
    ['jwt: { issuer: a }\njwt: { audience: b }', 'SIDECAST_CONFIG (environment): a.yaml is not usable YAML at line 2: Map keys must be unique'],
    ['jwt: { user_claim: a, userClaim: b }', 'SIDECAST_JWT_USER_CLAIM (a.yaml:jwt.userClaim): is given twice in this file'],
    ['allowed_origins: [{ name: shop }]', 'SIDECAST_ALLOWED_ORIGINS (a.yaml:allowed_origins): must be one text or a list of texts'],
    ['jwt: { rooms_claim: [a, b] }', 'SIDECAST_JWT_ROOMS_CLAIM (a.yaml:jwt.rooms_claim): takes one value, not a list'],
    ['jwt: { issuer: }', 'SIDECAST_JWT_ISSUER (a.yaml:jwt.issuer): is empty'],
    ['jwt: { issuer: null }', 'SIDECAST_JWT_ISSUER (a.yaml:jwt.issuer): is empty'],
    ['jwt: { usr_claim: a }', 'SIDECAST_JWT_USR_CLAIM (a.yaml:jwt.usr_claim): is not known: did you mean jwt_user_claim?'],
    ['config: b.yaml', 'SIDECAST_CONFIG (a.yaml:config): is not known'],
    ['__proto__: { jwt: a }', 'SIDECAST___PROTO___JWT (a.yaml:__proto__.jwt): is not known'],
  ])('the file %j is refused', async (yaml, problem) => {
    const cwd = await folderWith({ 'a.yaml': yaml })
    expect(problems({ CONFIG: 'a.yaml' }, { cwd })).toEqual([expect.stringContaining(problem)])
  })

  test('what is wrong in a YAML file is told without its content', async () => {
    const cwd = await folderWith({ 'a.yaml': `jwt: { secret: "${secret}" "again" }` })
    expect(problems({ CONFIG: 'a.yaml' }, { cwd }).join()).not.toContain(secret)
  })

  test('a file that is not there is named, and what it may have held is not said to be missing', () => {
    expect(problems({ JWT_SECRET: undefined }, { args: ['--config', 'absent.yaml'] })).toEqual([
      'SIDECAST_CONFIG (flag --config): absent.yaml does not exist',
    ])
  })

  test.each([
    [['--jwt-issuer'], 'SIDECAST_JWT_ISSUER (flag --jwt-issuer): has no value'],
    [['--jwt-issuer', '--jwt-audience=a'], 'SIDECAST_JWT_ISSUER (flag --jwt-issuer): has no value'],
    [['--jwt-issuer='], 'SIDECAST_JWT_ISSUER (flag --jwt-issuer): is empty'],
    [['--jwt-issuer', 'a', '--jwt-issuer', 'b'], 'SIDECAST_JWT_ISSUER (flag --jwt-issuer): is given twice'],
    [['word'], 'the command line: the argument "word" stands alone'],
    [['--jwt-preset', 'x'], 'SIDECAST_JWT_PRESET (flag --jwt-preset): must be one of'],
  ])('the flags %j are refused', (args, problem) => {
    expect(problems({}, { args })).toEqual([expect.stringContaining(problem)])
  })
})

describe('what is printed', () => {
  test('every value appears with where it comes from, and secrets are masked', async () => {
    const cwd = await folderWith({ 'a.yaml': 'public: { port: 8080 }', secret })
    const env = toEnvironment({ JWT_SECRET_FILE: 'secret', API_KEYS: `shop:${key}:read,blog:sha256:${'ab'.repeat(32)}` })
    const printed = maskedConfig({ args: ['--config', 'a.yaml', '--log-level=warn'], env, cwd })
    expect(printed).not.toContain(secret)
    expect(printed).not.toContain(key)
    expect(printed).not.toContain('abab')
    expect(printed.split('\n')).toEqual(
      expect.arrayContaining([
        'SIDECAST_PUBLIC_PORT=8080  # a.yaml:public.port',
        'SIDECAST_PRIVATE_PORT=3001  # default',
        'SIDECAST_LOG_LEVEL=warn  # flag --log-level',
        `SIDECAST_JWT_SECRET=********  # ${join(cwd, 'secret')}, by SIDECAST_JWT_SECRET_FILE`,
        'SIDECAST_API_KEYS=shop:********:read,blog:********:publish  # environment',
      ]),
    )
  })

  test('the documentation holds the table of the schema', async () => {
    const page = new URL('../docs/configuration.md', import.meta.url)
    const text = await readFile(page, 'utf8')
    const end = text.indexOf('-->\n') + '-->\n'.length
    // When this fails: npx vitest run test/config.test.ts --update
    await expect(`${text.slice(0, end)}\n${referenceTable()}`).toMatchFileSnapshot('../docs/configuration.md')
  })

  test('the example in the documentation is valid', async () => {
    const text = await readFile(new URL('../docs/configuration.md', import.meta.url), 'utf8')
    const example = /```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? ''
    const cwd = await folderWith({ 'sidecast.yaml': example, 'secrets/jwt': `${secret}\n`, 'secrets/api-keys': `shop:${key}\n` })
    const config = loadConfig({ args: ['--config', 'sidecast.yaml'], env: {}, cwd })
    expect(config).toMatchObject({ jwt: { issuers: [{ userClaims: ['sub', 'user_id'], audiences: ['shop'] }] }, log: { retentionAgeMs: 900_000 } })
    expect(config.gateway.allowedOrigins).toHaveLength(2)
  })

  test('so is its example of lists of maps', async () => {
    const text = await readFile(new URL('../docs/configuration.md', import.meta.url), 'utf8')
    const [, , [, example = ''] = []] = [[], ...text.matchAll(/```yaml\n([\s\S]*?)```/g)]
    const other = randomBytes(32).toString('hex')
    const whsec = `whsec_${randomBytes(32).toString('base64')}`
    const files = { 'sidecast.yaml': example, 'secrets/jwt': secret, 'secrets/shop-key': key, 'secrets/chat-key': other, 'secrets/erp-key': whsec }
    const { http } = loadConfig({ args: ['--config', 'sidecast.yaml'], env: {}, cwd: await folderWith(files) })
    expect(http.apiKeys.map(({ name }) => name)).toEqual(['shop', 'chat'])
    expect(http.signingKeys.map(({ name }) => name)).toEqual(['erp'])
  })
})
