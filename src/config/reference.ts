import { z } from 'zod'
import { algorithms, parsePublicKeys, secretEncodings } from '../auth/keys.ts'
import { BridgeError } from '../errors.ts'
import { parseRedisPrefix, parseRedisUrl } from './redis-url.ts'
import {
  parseApiKeys,
  parseBinding,
  parseBrokerName,
  parseBrokerUrl,
  parseCertificates,
  parseChoices,
  parseDuration,
  parseHost,
  parseInteger,
  parseOrigin,
  parseSize,
  parseTokenSource,
  parseWorkers,
  splitList,
} from './values.ts'

const text = z.string({ error: 'takes one value, not a list' })
const texts = z
  .union([text.transform(splitList), z.array(z.string())])
  .refine((items) => items.length > 0, { error: 'is empty: give a value or leave it out' })

/** A step of a schema that parses by a function which throws BridgeErrors. */
function by<In, Out>(parse: (value: In) => Out): (value: In, context: z.RefinementCtx) => Out {
  return (value, context) => {
    try {
      return parse(value)
    } catch (error) {
      if (!(error instanceof BridgeError)) throw error
      context.addIssue({ code: 'custom', message: error.message })
      return z.NEVER
    }
  }
}

const duration = (min: string, max: string) => text.transform(by((value) => parseDuration(value, { min, max })))
const size = (min: string, max: string) => text.transform(by((value) => parseSize(value, { min, max })))
const integer = (min: number, max: number) => text.transform(by((value) => parseInteger(value, min, max)))
const choice = <T extends string>(choices: readonly T[]) => z.enum(choices, { error: `must be one of ${choices.join(', ')}` })
const choices = <T extends string>(known: readonly T[]) => texts.transform(by((items) => parseChoices(items, known)))
const truth = choice(['true', 'false']).transform((value) => value === 'true')
const port = integer(0, 65_535)
const host = text.transform(by(parseHost))
const brokerName = text.transform(by(parseBrokerName))
// Environment files cannot hold line ends; neither PEM nor base64 has a backslash of its own.
const publicKeys = text.transform(by((value) => parsePublicKeys(value.replaceAll('\\n', '\n'))))

// Node's timers overflow beyond 24.8 days and would fire at once.
const longestTimer = '24d'

/** Every variable, in the order in which it is documented. */
const groups = {
  Listeners: {
    PUBLIC_HOST: host.prefault('0.0.0.0').describe('Where browsers connect: the address that the public listener binds to.'),
    PUBLIC_PORT: port.prefault('3000').describe('The port of the public listener. `0`: any free one.'),
    PRIVATE_HOST: host
      .prefault('127.0.0.1')
      .describe('Where the application publishes: the address that the private listener binds to. Keep it unreachable for browsers.'),
    PRIVATE_PORT: port.prefault('3001').describe('The port of the private listener. `0`: any free one.'),
  },
  'Login tokens': {
    JWT_SECRET: text
      .optional()
      .describe(
        'The secret that signs the login tokens (HS256, HS384, HS512); at least 32 bytes. This or `SIDECAST_JWT_PUBLIC_KEY` is required, not both.',
      ),
    JWT_SECRET_ENCODING: choice(secretEncodings)
      .prefault('utf8')
      .describe(
        'How the text of the secret stands for its bytes: `utf8`, `base64`, `base64url`, `hex`. Java libraries usually decode base64, PHP libraries take the text as it is.',
      ),
    JWT_PUBLIC_KEY: publicKeys
      .optional()
      .describe(
        'The public key, or several one after the other, as PEM (public key or certificate; RSA, P-256, P-384, P-521). `\\n` may stand for a line end.',
      ),
    JWT_ALGORITHMS: choices(algorithms)
      .optional()
      .describe(
        'The algorithms that are accepted; each must be one of a configured key. Unset: all of the configured keys. HS\\* never goes with public keys, `none` never.',
      ),
    JWT_ISSUER: text.optional().describe('What `iss` must be. Unset: not checked.'),
    JWT_AUDIENCE: text.optional().describe('What `aud` must be or contain. Unset: not checked.'),
    JWT_CLOCK_TOLERANCE: duration('0s', '1h').prefault('30s').describe('How far the clocks of issuer and bridge may differ.'),
    JWT_REQUIRE_EXP: truth.prefault('true').describe('Whether a token without `exp` is refused.'),
    JWT_USER_CLAIM: texts
      .prefault('sub')
      .describe('List: the claim that holds the user; the first present one wins. Dots go into objects: `data.user.id`.'),
    JWT_ROOMS_CLAIM: text
      .prefault('rooms')
      .describe(
        'The claim that lists rooms. Exact names are joined at connect; with `*` (one segment) or a final `**` (the rest) it allows joining on request.',
      ),
    TOKEN_SOURCES: texts
      .transform(by((items) => items.map(parseTokenSource)))
      .prefault('auth,header')
      .describe(
        'List: where the token is looked for. `auth` (of the Socket.IO handshake), `header` (`Authorization: Bearer`), `cookie:NAME` (needs `SIDECAST_ALLOWED_ORIGINS`), `query:NAME` (addresses end up in logs).',
      ),
  },
  Browsers: {
    ALLOWED_ORIGINS: texts
      .transform(by((items) => items.map(parseOrigin)))
      .optional()
      .describe(
        'List: the exact origins whose pages may connect, such as `https://app.example.com`. Unset: no page may; what sends no `Origin` (servers, native apps) may.',
      ),
    TRANSPORTS: choices(['websocket', 'polling']).prefault('websocket,polling').describe('List of `websocket`, `polling`.'),
    SERVE_CLIENT: truth.prefault('true').describe('Whether `/socket.io/socket.io.js` and its variants are served.'),
    CONNECT_TIMEOUT: duration('100ms', '10m').prefault('10s').describe('How long a connection may take to present its token.'),
    PING_INTERVAL: duration('100ms', '1h').prefault('25s').describe('How often a silent connection is asked whether it is alive.'),
    PING_TIMEOUT: duration('100ms', '1h').prefault('20s').describe('How long the answer may take before the connection counts as lost.'),
    SESSIONS_PER_USER: integer(1, 1_000_000).prefault('100').describe('How many sessions one user may have open.'),
    ROOMS_PER_SESSION: integer(1, 1_000_000).prefault('1000').describe('How many rooms one session may be in.'),
    MAX_BUFFER: size('1kb', '1gb')
      .prefault('1mb')
      .describe(
        'How many bytes may wait in memory for one session. One that is slower reads on from the log; one that takes nothing for 5 s is cut off and resumes. At least `SIDECAST_MAX_EVENT_SIZE`.',
      ),
  },
  Publishing: {
    API_KEYS: texts
      .transform(by(parseApiKeys))
      .optional()
      .describe(
        'List of `name:key[:scope+scope]`. The key: at least 32 characters, or `sha256:` and the 64 hex digits of its SHA-256. Scopes: `publish`, `read`, `admin`; without scopes: `publish`. Unset: nobody can publish.',
      ),
    MAX_EVENT_SIZE: size('1kb', '64mb')
      .prefault('256kb')
      .describe('The largest event: the body of `POST /v1/events`, a line of NDJSON, a message of RabbitMQ, or the `data` of one event in a batch.'),
    MAX_BATCH_SIZE: size('1kb', '1gb').prefault('16mb').describe('The largest body of `POST /v1/events/batch`. At least `SIDECAST_MAX_EVENT_SIZE`.'),
  },
  Redis: {
    REDIS_URL: text
      .transform(by(parseRedisUrl))
      .optional()
      .describe(
        'The Redis (6.2 or later, or Valkey) that keeps the log for several nodes: `redis://user:password@host:6379/0`, `rediss://` for TLS, `redis+sentinel://user:password@host1:26379,host2:26379/master/0`. Unset: the log is kept in `SIDECAST_DATA_DIR`, for this node alone.',
      ),
    REDIS_CA: text
      .transform(by((value) => parseCertificates(value.replaceAll('\\n', '\n'))))
      .optional()
      .describe('The certificates, as PEM, that a Redis with TLS is trusted by. Unset: the public authorities.'),
    REDIS_PREFIX: text
      .transform(by(parseRedisPrefix))
      .prefault('sidecast')
      .describe('What the keys in Redis begin with, in braces: `{sidecast}:log`. Nodes with the same prefix are one bridge.'),
    REDIS_WAIT: integer(0, 10)
      .prefault('0')
      .describe(
        'How many replicas must have acknowledged an event before it is accepted. With 0 every client is told that it may have missed something when a replica takes over.',
      ),
  },
  RabbitMQ: {
    AMQP_URL: text
      .transform(by(parseBrokerUrl))
      .optional()
      .describe(
        'The broker that the application publishes to: `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS; `?heartbeat=10` in seconds. Unset: off.',
      ),
    AMQP_CA: text
      .transform(by((value) => parseCertificates(value.replaceAll('\\n', '\n'))))
      .optional()
      .describe('The certificates, as PEM, that the broker of an `amqps://` address is trusted by. Unset: the public authorities.'),
    AMQP_TOPOLOGY: choice(['assert', 'check', 'none'])
      .prefault('assert')
      .describe(
        '`assert`: exchanges, queues and bindings are declared where they are missing. `check`: nothing is declared; what is missing or different is told. `none`: neither.',
      ),
    AMQP_EXCHANGE: brokerName.prefault('sidecast').describe('The topic exchange that the application publishes to.'),
    AMQP_QUEUE: brokerName
      .prefault('sidecast.events')
      .describe('The queue that is consumed. A quorum queue with a single active consumer: its order is the order of the events.'),
    AMQP_BINDINGS: texts
      .transform(by((items) => items.map(parseBinding)))
      .optional()
      .describe(
        'List of `exchange:key`: what the queue is bound to, for applications that publish to exchanges of their own already; those must exist. Unset: all of `SIDECAST_AMQP_EXCHANGE`.',
      ),
    AMQP_DEAD_LETTER: brokerName
      .prefault('sidecast.dead-letter')
      .describe('The fanout exchange, and the queue of the same name, for messages that cannot be delivered.'),
    AMQP_PREFETCH: integer(1, 2000).prefault('250').describe('How many messages the broker sends ahead of the acks.'),
  },
  'Event log': {
    DATA_DIR: text.prefault('./data').describe('The folder of the event log.'),
    DURABILITY: choice(['disk', 'process'])
      .prefault('disk')
      .describe('What an accepted event survives. `disk`: a power cut. `process`: `kill -9`, but not a power cut; for slow disks.'),
    RETENTION_AGE: duration('1s', '365d').prefault('5m').describe('How far back a client can resume.'),
    RETENTION_EVENTS: integer(1, 1_000_000_000).prefault('1000000').describe('How many entries are kept at most.'),
    DEDUPE_WINDOW: duration('1s', '365d')
      .prefault('5m')
      .describe('How long an `id` is remembered, so that a repeated publish is not delivered twice.'),
  },
  Operation: {
    WORKERS: text
      .transform(by(parseWorkers))
      .prefault('1')
      .describe('How many processes serve the browsers: `1` to `64`, or `auto` for one per core. `1`: everything in one process.'),
    DRAIN_PERIOD: duration('0s', longestTimer)
      .prefault('5s')
      .describe('On shutdown, clients are closed spread over this time, so that they do not all come back at once.'),
    LOG_LEVEL: choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
      .prefault('info')
      .describe('`trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`.'),
    METRICS_KEY: truth.prefault('false').describe('Whether `GET /metrics` needs an API key with the scope `read`.'),
  },
}

/** The one schema: keys are variable names without `SIDECAST_`, values are texts (or lists of them) as they were written. */
export const schema = z.object({
  ...groups.Listeners,
  ...groups['Login tokens'],
  ...groups.Browsers,
  ...groups.Publishing,
  ...groups.Redis,
  ...groups.RabbitMQ,
  ...groups['Event log'],
  ...groups.Operation,
})

export type VariableName = keyof typeof schema.shape
export type Values = z.output<typeof schema>

export const variableNames = schema.keyof().options

/** Variables that can be given as the path of a file that holds them, under their name and `_FILE`. */
export const secretNames = [
  'JWT_SECRET',
  'JWT_PUBLIC_KEY',
  'API_KEYS',
  'AMQP_URL',
  'AMQP_CA',
  'REDIS_URL',
  'REDIS_CA',
] as const satisfies readonly VariableName[]

export const isSecret = (name: string): boolean => secretNames.some((secret) => secret === name)

/** The default as it would be written, or undefined when there is none. */
export function defaultText(name: VariableName): string | undefined {
  const variable: z.ZodType = schema.shape[name]
  return variable instanceof z.ZodPrefault ? String(variable.def.defaultValue) : undefined
}

/** The variables as Markdown, for docs/configuration.md. */
export function referenceTable(): string {
  const row = (name: VariableName): string => {
    const value = defaultText(name)
    const file = isSecret(name) ? ` (\`_FILE\`)` : ''
    return `| \`SIDECAST_${name}\`${file} | ${value === undefined ? '–' : `\`${value}\``} | ${schema.shape[name].description} |`
  }
  return Object.entries(groups)
    .map(([title, group]) => {
      const names = variableNames.filter((name) => Object.hasOwn(group, name))
      return [`### ${title}`, '', '| variable | default | meaning |', '|---|---|---|', ...names.map(row), ''].join('\n')
    })
    .join('\n')
}
