import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { IssuerOptions } from '../auth/issuer.ts'
import { BridgeError } from '../errors.ts'
import { type Contradiction, checkSharedSecrets, checkTogether, digestsOf, type HeldSecret } from './checks.ts'
import type { SigningKey as SecretSigner } from './issuers.ts'
import { readLogins } from './logins.ts'
import { type ApiKey, parseApiKeys, type SigningKey } from './publisher-values.ts'
import { readApiKeys, readSigningKeys } from './publishers.ts'
import type { RedisPlace } from './redis-url.ts'
import { schema, type Values } from './reference.ts'
import { readServiceJwt, type ServiceJwtConfig } from './service-jwt.ts'
import { type ConfigSources, entriesOf, type Problem, readSettings, type Setting, withoutLineEnd } from './sources.ts'
import { type Binding, splitList, type TokenSource } from './values.ts'

/** How login tokens are checked. */
interface JwtConfig {
  /** Empty when the application decides on logins, or introspection does. */
  readonly issuers: readonly IssuerOptions[]
  /** What must be said of a token that is no JWT, by whoever vouches for it. */
  readonly opaque: Omit<IssuerOptions, 'keys' | 'algorithms'>
  readonly clockToleranceMs: number
  /** How long after it was issued a token may expire, by our clock: what a revocation that does not say until when has to wait for. */
  readonly revocationAgeMs: number
  /** What signs development tokens, and whose tokens they are; only a secret can. */
  readonly signing?: SecretSigner & { readonly issuer: IssuerOptions }
}

/** How the application is asked. */
interface BackendConfig {
  readonly connectUrl?: string
  readonly roomsUrl?: string
  /** There whenever one of these addresses is. */
  readonly secret?: Uint8Array
  readonly timeoutMs: number
  readonly cacheMs: number
  /** Names of headers, in lower case. */
  readonly forward: readonly string[]
  readonly introspection?: { readonly url: string; readonly clientId: string; readonly clientSecret: string }
}

/** Everything that can be configured, checked; one part for each part of the bridge. Durations in milliseconds, sizes in bytes, ports 0 for any free one. */
export interface Config {
  readonly jwt: JwtConfig
  /** Absent: the application is not asked. */
  readonly backend?: BackendConfig
  /** The public listener. */
  readonly gateway: {
    readonly host: string
    readonly port: number
    readonly tokenSources: readonly TokenSource[]
    /** As browsers send them. */
    readonly allowedOrigins: readonly string[]
    readonly transports: readonly ('websocket' | 'polling')[]
    readonly serveClient: boolean
    readonly connectTimeoutMs: number
    readonly pingIntervalMs: number
    readonly pingTimeoutMs: number
    readonly sessionsPerUser: number
    /** Absent: any number. */
    readonly connectionsPerIp?: number
    /** A second; 0: any number. */
    readonly refusalsPerIp: number
    /** Addresses, ranges as CIDR, `loopback`, `private`. */
    readonly trustedProxies: readonly string[]
    readonly roomsPerSession: number
    readonly maxBufferBytes: number
    readonly maxBufferedBytes: number
    readonly maxLagMs: number
  }
  /** The private listener. */
  readonly http: {
    readonly host: string
    readonly port: number
    readonly apiKeys: readonly ApiKey[]
    /** Where they come from, when they were given as a file. `parse` throws BridgeError invalid_config. */
    readonly apiKeysFile?: { readonly path: string; readonly parse: (text: string) => readonly ApiKey[] }
    readonly signingKeys: readonly SigningKey[]
    readonly serviceJwt?: ServiceJwtConfig
    readonly maxEventBytes: number
    readonly maxBatchBytes: number
    /** Whether the metrics need a key with the scope `read`. */
    readonly metricsKey: boolean
  }
  /** Absent: nothing is consumed. */
  readonly amqp?: {
    readonly url: string
    /** PEM. */
    readonly ca?: string
    readonly topology: 'assert' | 'check' | 'none'
    readonly exchange: string
    readonly queue: string
    /** Never empty. */
    readonly bindings: readonly Binding[]
    readonly deadLetter: string
    readonly prefetch: number
  }
  readonly log: {
    /** Absolute. */
    readonly directory: string
    readonly durability: 'disk' | 'process'
    readonly retentionAgeMs: number
    readonly retentionEvents: number
    readonly dedupeWindowMs: number
  }
  /** How many processes serve the browsers; 1: this one. */
  readonly workers: number
  /** Absent: the log is kept in its directory, for this node alone. */
  readonly redis?: {
    readonly endpoint: RedisPlace
    /** PEM. */
    readonly ca?: string
    readonly prefix: string
    readonly waitReplicas: number
  }
  readonly drainLeadMs: number
  readonly drainPeriodMs: number
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
}

/** Reads, merges and checks everything. @throws BridgeError invalid_config: every problem, one a line, and in `errors` */
export function loadConfig(sources: ConfigSources): Config {
  const { settings, problems: unreadable } = readSettings(sources)
  // Lists of maps are read by themselves.
  const written = new Map([...settings].flatMap(([name, setting]) => (entriesOf(setting) === undefined ? [[name, setting.value] as const] : [])))
  const issues = schema.safeParse(Object.fromEntries(written)).error?.issues ?? []
  const wrong = issues.map(({ path, message }) => ({ name: String(path[0]), detail: message }))
  // The checks across variables go on with what is well written, so that everything is told at once.
  for (const { name } of wrong) written.delete(name)
  const apiKeys = readApiKeys(settings.get('API_KEYS'))
  const signingKeys = readSigningKeys(settings.get('SIGNING_KEYS'))
  const texts = schema.parse(Object.fromEntries(written))
  const values: Values = {
    ...texts,
    ...(apiKeys === undefined ? {} : { API_KEYS: apiKeys.keys }),
    ...(signingKeys === undefined ? {} : { SIGNING_KEYS: signingKeys.keys }),
  }
  const inMaps = [...(apiKeys?.problems ?? []), ...(signingKeys?.problems ?? [])]
  const broken = new Set([...unreadable, ...inMaps, ...wrong].flatMap(({ name }) => [name, name.replace(/_FILE$/, '')]))
  const logins = readLogins(settings, written, values)
  const service = readServiceJwt(values, settings, logins.issuers)
  // What an unreadable file says about the others is not known.
  const doubtful = ({ name, also = [], certain = false }: Contradiction): boolean =>
    ['CONFIG', name, ...(certain ? [] : also)].some((one) => broken.has(one) && !(certain && one === name))
  const untrue = [
    ...logins.contradictions,
    ...service.contradictions,
    ...checkSharedSecrets([...logins.secrets, ...service.secrets, ...secretsOf(values, settings)]),
    ...checkTogether(values, (name) => settings.has(name)),
  ].filter((contradiction) => !doubtful(contradiction))

  const problems: readonly Problem[] = [
    ...unreadable,
    ...logins.problems,
    ...inMaps,
    ...[...wrong, ...untrue].map(({ name, detail }) => ({ name, detail, origin: settings.get(name)?.origin })),
  ]
  if (problems.length > 0) throw invalid([...problems, ...unreadFile(sources, problems)])
  const directory = resolve(settings.get('DATA_DIR')?.folder ?? sources.cwd, values.DATA_DIR)
  const { issuers, opaque, revocationAgeMs, signing } = logins
  return {
    jwt: { issuers, opaque, revocationAgeMs, clockToleranceMs: values.JWT_CLOCK_TOLERANCE, ...(signing === undefined ? {} : { signing }) },
    ...toBackendConfig(values),
    gateway: toGatewayConfig(values),
    http: { ...toHttpConfig(values, settings.get('API_KEYS')), ...(service.config === undefined ? {} : { serviceJwt: service.config }) },
    ...toAmqpConfig(values),
    ...toRedisConfig(values),
    log: {
      directory,
      durability: values.DURABILITY,
      retentionAgeMs: values.RETENTION_AGE,
      retentionEvents: values.RETENTION_EVENTS,
      dedupeWindowMs: values.DEDUPE_WINDOW,
    },
    workers: values.WORKERS,
    drainLeadMs: values.DRAIN_LEAD,
    drainPeriodMs: values.DRAIN_PERIOD,
    logLevel: values.LOG_LEVEL,
  }
}

/** The secrets of publishers and of the calls to the application. */
function secretsOf(
  { API_KEYS: apiKeys = [], SIGNING_KEYS: signingKeys = [], AUTHORIZE_SECRET: secret, INTROSPECTION_CLIENT_SECRET: client }: Values,
  settings: ReadonlyMap<string, Setting>,
): readonly HeldSecret[] {
  const text = (name: string): readonly string[] => [settings.get(name)?.value ?? ''].filter((value) => typeof value === 'string')
  return [
    ...apiKeys.map(({ name, sha256 }): HeldSecret => ({ name: 'API_KEYS', as: `the API key ${name}`, digests: [sha256] })),
    ...signingKeys.map(
      (key): HeldSecret => ({
        name: 'SIGNING_KEYS',
        as: `the signing key ${key.name}`,
        digests: digestsOf(key.secret, `whsec_${Buffer.from(key.secret).toString('base64')}`),
      }),
    ),
    ...(secret === undefined
      ? []
      : [{ name: 'AUTHORIZE_SECRET', as: 'SIDECAST_AUTHORIZE_SECRET', digests: digestsOf(secret, ...text('AUTHORIZE_SECRET')) } as const]),
    ...(client === undefined
      ? []
      : [{ name: 'INTROSPECTION_CLIENT_SECRET', as: 'SIDECAST_INTROSPECTION_CLIENT_SECRET', digests: digestsOf(client) } as const]),
  ]
}

/** What is missing may stand in a file that lies there and was not named. */
function unreadFile({ args, env, cwd }: ConfigSources, problems: readonly Problem[]): readonly Problem[] {
  const isNamed = env.SIDECAST_CONFIG !== undefined || args.some((arg) => /^--config(=|$)/.test(arg))
  if (isNamed || !problems.some(({ detail }) => detail.startsWith('is needed'))) return []
  const file = ['sidecast.yaml', 'sidecast.yml'].find((name) => existsSync(resolve(cwd, name)))
  return file === undefined ? [] : [{ name: 'CONFIG', detail: `is not set, so that ${file} in this folder is not read: --config ${file}` }]
}

function invalid(problems: readonly Problem[]): BridgeError {
  const errors = problems.map(({ name, origin, detail }) => {
    const variable = `SIDECAST_${name}`
    const subject = name === '' ? 'the command line' : `${variable}${origin === undefined ? '' : ` (${origin.text})`}`
    // The parsers of keys name the variable themselves.
    return {
      pointer: name === '' ? '' : `/${name}`,
      detail: `${subject}: ${detail.startsWith(`${variable} `) ? detail.slice(variable.length + 1) : detail}`,
    }
  })
  return new BridgeError('invalid_config', `the configuration is not valid:\n${errors.map(({ detail }) => `  ${detail}`).join('\n')}`, { errors })
}

function toBackendConfig(values: Values): Pick<Config, 'backend'> {
  const { AUTHORIZE_CONNECT_URL: connectUrl, AUTHORIZE_ROOMS_URL: roomsUrl, AUTHORIZE_SECRET: secret } = values
  const { INTROSPECTION_URL: url, INTROSPECTION_CLIENT_ID: clientId, INTROSPECTION_CLIENT_SECRET: clientSecret } = values
  if (connectUrl === undefined && roomsUrl === undefined && url === undefined) return {}
  return {
    backend: {
      ...(connectUrl === undefined ? {} : { connectUrl }),
      ...(roomsUrl === undefined ? {} : { roomsUrl }),
      ...(secret === undefined ? {} : { secret }),
      timeoutMs: values.AUTHORIZE_TIMEOUT,
      cacheMs: values.AUTHORIZE_CACHE,
      forward: values.AUTHORIZE_FORWARD ?? [],
      ...(url === undefined || clientId === undefined || clientSecret === undefined ? {} : { introspection: { url, clientId, clientSecret } }),
    },
  }
}

function toGatewayConfig(values: Values): Config['gateway'] {
  const { CONNECTIONS_PER_IP: connectionsPerIp } = values
  return {
    host: values.PUBLIC_HOST,
    port: values.PUBLIC_PORT,
    tokenSources: values.TOKEN_SOURCES,
    allowedOrigins: values.ALLOWED_ORIGINS ?? [],
    transports: values.TRANSPORTS,
    serveClient: values.SERVE_CLIENT,
    connectTimeoutMs: values.CONNECT_TIMEOUT,
    pingIntervalMs: values.PING_INTERVAL,
    pingTimeoutMs: values.PING_TIMEOUT,
    sessionsPerUser: values.SESSIONS_PER_USER,
    ...(connectionsPerIp === undefined ? {} : { connectionsPerIp }),
    refusalsPerIp: values.REFUSALS_PER_IP,
    trustedProxies: values.TRUSTED_PROXIES ?? [],
    roomsPerSession: values.ROOMS_PER_SESSION,
    maxBufferBytes: values.MAX_BUFFER,
    maxBufferedBytes: values.MAX_BUFFERED,
    maxLagMs: values.MAX_LAG,
  }
}

function toHttpConfig(values: Values, apiKeys: Setting | undefined): Omit<Config['http'], 'serviceJwt'> {
  const path = apiKeys?.path
  return {
    host: values.PRIVATE_HOST,
    port: values.PRIVATE_PORT,
    apiKeys: values.API_KEYS ?? [],
    ...(path === undefined ? {} : { apiKeysFile: { path, parse: (text: string) => parseApiKeys(splitList(withoutLineEnd(text))) } }),
    signingKeys: values.SIGNING_KEYS ?? [],
    maxEventBytes: values.MAX_EVENT_SIZE,
    maxBatchBytes: values.MAX_BATCH_SIZE,
    metricsKey: values.METRICS_KEY,
  }
}

function toAmqpConfig(values: Values): Pick<Config, 'amqp'> {
  const { AMQP_URL: url, AMQP_CA: ca, AMQP_EXCHANGE: exchange } = values
  if (url === undefined) return {}
  return {
    amqp: {
      url,
      ...(ca === undefined ? {} : { ca }),
      topology: values.AMQP_TOPOLOGY,
      exchange,
      queue: values.AMQP_QUEUE,
      bindings: values.AMQP_BINDINGS ?? [{ exchange, key: '#' }],
      deadLetter: values.AMQP_DEAD_LETTER,
      prefetch: values.AMQP_PREFETCH,
    },
  }
}

function toRedisConfig({ REDIS_URL: endpoint, REDIS_CA: ca, ...values }: Values): Pick<Config, 'redis'> {
  if (endpoint === undefined) return {}
  return { redis: { endpoint, ...(ca !== undefined && { ca }), prefix: values.REDIS_PREFIX, waitReplicas: values.REDIS_WAIT } }
}
