import type { KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { TokenAlgorithm, VerifyKey } from '../auth/keys.ts'
import { BridgeError } from '../errors.ts'
import { besidePublicKey, type Contradiction, checkKeys, checkTogether } from './checks.ts'
import type { RedisPlace } from './redis-url.ts'
import { defaultText, isSecret, referenceTable, schema, type Values, variableNames } from './reference.ts'
import { type ConfigSources, type Problem, readSettings, type Setting } from './sources.ts'
import type { ApiKey, Binding, TokenSource } from './values.ts'

export { referenceTable }

/** How login tokens are checked: the options of `createTokenVerifier` but for the clock. */
interface JwtConfig {
  readonly keys: readonly VerifyKey[]
  /** Never empty. */
  readonly algorithms: readonly TokenAlgorithm[]
  readonly issuer?: string
  readonly audience?: string
  readonly clockToleranceMs: number
  readonly requireExp: boolean
  readonly userClaims: readonly string[]
  readonly roomsClaim: string
  /** What signs development tokens; only a secret can. */
  readonly signing?: { readonly secret: KeyObject; readonly algorithm: TokenAlgorithm }
}

/** Everything that can be configured, checked; one part for each part of the bridge. Durations in milliseconds, sizes in bytes, ports 0 for any free one. */
export interface Config {
  readonly jwt: JwtConfig
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
    readonly roomsPerSession: number
    readonly maxBufferBytes: number
  }
  /** The private listener. */
  readonly http: {
    readonly host: string
    readonly port: number
    readonly apiKeys: readonly ApiKey[]
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
  readonly drainPeriodMs: number
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
}

/** Reads, merges and checks everything. @throws BridgeError invalid_config: every problem, one a line, and in `errors` */
export function loadConfig(sources: ConfigSources): Config {
  const { settings, problems: unreadable } = readSettings(sources)
  const written = new Map([...settings].map(([name, { value }]) => [name, value]))
  const issues = schema.safeParse(Object.fromEntries(written)).error?.issues ?? []
  const wrong = issues.map(({ path, message }) => ({ name: String(path[0]), detail: message }))
  // The checks across variables go on with what is well written, so that everything is told at once.
  for (const { name } of wrong) written.delete(name)
  const values = schema.parse(Object.fromEntries(written))
  const broken = new Set([...unreadable, ...wrong].map(({ name }) => name.replace(/_FILE$/, '')))
  const { keys, contradictions } = checkKeys(values)
  // Also where one of them cannot be read: mending it would only lead to this.
  if (['JWT_SECRET', 'JWT_PUBLIC_KEY'].every((name) => settings.has(name)) && wrong.some(({ name }) => name === 'JWT_PUBLIC_KEY'))
    wrong.push({ name: 'JWT_SECRET', detail: besidePublicKey })
  // What an unreadable file says about the others is not known.
  const doubtful = ({ name, also = [] }: Contradiction): boolean => ['CONFIG', name, ...also].some((one) => broken.has(one))
  const untrue = [...contradictions, ...checkTogether(values, keys)].filter((contradiction) => !doubtful(contradiction))

  const problems = [...unreadable, ...[...wrong, ...untrue].map(({ name, detail }) => ({ name, detail, origin: settings.get(name)?.origin }))]
  if (problems.length > 0) throw invalid([...problems, ...unreadFile(sources, problems)])
  const directory = resolve(settings.get('DATA_DIR')?.folder ?? sources.cwd, values.DATA_DIR)
  return toConfig(values, toJwtConfig(values, keys), directory)
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

function toJwtConfig(values: Values, keys: readonly VerifyKey[]): JwtConfig {
  const { JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = values
  const algorithms = values.JWT_ALGORITHMS ?? [...new Set(keys.flatMap((key) => key.algorithms))]
  const [secret] = keys.map(({ key }) => key).filter(({ type }) => type === 'secret')
  const [algorithm] = algorithms
  return {
    keys,
    algorithms,
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience }),
    clockToleranceMs: values.JWT_CLOCK_TOLERANCE,
    requireExp: values.JWT_REQUIRE_EXP,
    userClaims: values.JWT_USER_CLAIM,
    roomsClaim: values.JWT_ROOMS_CLAIM,
    ...(secret === undefined || algorithm === undefined ? {} : { signing: { secret, algorithm } }),
  }
}

function toConfig(values: Values, jwt: JwtConfig, directory: string): Config {
  return {
    jwt,
    gateway: {
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
      roomsPerSession: values.ROOMS_PER_SESSION,
      maxBufferBytes: values.MAX_BUFFER,
    },
    http: {
      host: values.PRIVATE_HOST,
      port: values.PRIVATE_PORT,
      apiKeys: values.API_KEYS ?? [],
      maxEventBytes: values.MAX_EVENT_SIZE,
      maxBatchBytes: values.MAX_BATCH_SIZE,
      metricsKey: values.METRICS_KEY,
    },
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
    drainPeriodMs: values.DRAIN_PERIOD,
    logLevel: values.LOG_LEVEL,
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

const mask = '********'

/** What is in force, as a line `SIDECAST_NAME=value  # where from` for each variable that has a value. Secrets are masked. */
export function maskedConfig(sources: ConfigSources): string {
  const { settings } = readSettings(sources)
  const lines = variableNames.flatMap((name) => {
    const setting = settings.get(name)
    const value = setting === undefined ? defaultText(name) : isSecret(name) ? masked(name, setting.value) : [setting.value].flat().join(',')
    return value === undefined ? [] : [`SIDECAST_${name}=${value}  # ${setting?.origin.text ?? 'default'}`]
  })
  return lines.join('\n')
}

/** Of keys to the ingress the names and scopes are worth seeing. */
function masked(name: string, value: Setting['value']): string {
  if (name !== 'API_KEYS') return mask
  const keys = schema.shape.API_KEYS.safeParse(value).data ?? []
  return keys.map((key) => `${key.name}:${mask}:${key.scopes.join('+')}`).join(',') || mask
}
