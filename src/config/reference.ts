import { z } from 'zod'
import { algorithms, parsePublicKeys, secretEncodings } from '../auth/keys.ts'
import { presetNames } from '../auth/presets.ts'
import { parseRoomTemplate } from '../auth/room-templates.ts'
import { scopes } from '../core/access.ts'
import { BridgeError } from '../errors.ts'
import { parseHeaderName, parseHttpUrl, parseIssuer, parseOidcIssuer, parseProxy, parseRequiredClaim } from './address-values.ts'
import {
  checkApiKeys,
  checkSigningKeys,
  parseApiKey,
  parsePattern,
  parsePublisherName,
  parseSigningKey,
  parseWebhookSecret,
} from './publisher-values.ts'
import { parseRedisPrefix, parseRedisUrl } from './redis-url.ts'
import {
  parseBinding,
  parseBrokerName,
  parseBrokerUrl,
  parseCertificates,
  parseChoice,
  parseDuration,
  parseHost,
  parseInteger,
  parseOrigin,
  parseSize,
  parseTokenSource,
  parseWorkers,
  splitList,
  splitTemplates,
} from './values.ts'

const text = z.string({ error: 'takes one value, not a list' })
const listBy = (split: (text: string) => readonly string[]) =>
  z.union([text.transform(split), z.array(z.string())]).refine((items) => items.length > 0, { error: 'is empty: give a value or leave it out' })
const texts = listBy(splitList)

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

/** The same for a list: each item that is wrong is told. */
function byEach<In, Out>(parse: (item: In, index: number) => Out): (items: readonly In[], context: z.RefinementCtx) => readonly Out[] {
  return (items, context) => items.map((item, index) => by((value: In) => parse(value, index))(item, context))
}

const duration = (min: string, max: string) => text.transform(by((value) => parseDuration(value, { min, max })))
const size = (min: string, max: string) => text.transform(by((value) => parseSize(value, { min, max })))
const integer = (min: number, max: number) => text.transform(by((value) => parseInteger(value, min, max)))
const choice = <T extends string>(choices: readonly T[]) => z.enum(choices, { error: `must be one of ${choices.join(', ')}` })
const choices = <T extends string>(known: readonly T[]) =>
  itemsBy((item) => parseChoice(item, known)).transform((items): readonly T[] => [...new Set(items)])
const truth = choice(['true', 'false']).transform((value) => value === 'true')
const port = integer(0, 65_535)
const host = text.transform(by(parseHost))
const brokerName = text.transform(by(parseBrokerName))
// Environment files cannot hold line ends; neither PEM nor base64 has a backslash of its own.
const publicKeys = text.transform(by((value) => parsePublicKeys(value.replaceAll('\\n', '\n'))))

const url = text.transform(by(parseHttpUrl))
const oidcIssuer = text.transform(by(parseOidcIssuer))
const secretEncoding = choice(secretEncodings).prefault('utf8')
const itemsBy = <T>(parse: (item: string, index: number) => T) => texts.transform(byEach(parse))

// Node's timers overflow beyond 24.8 days and would fire at once.
const longestTimer = '24d'

/** What is said of one issuer of login tokens: `SIDECAST_JWT_…`, or an entry of `jwt.issuers` in a configuration file. */
const issuer = {
  SECRET: text
    .optional()
    .describe(
      'The secret that signs the login tokens (HS256, HS384, HS512); at least 32 bytes. One source of keys is required: this, `SIDECAST_JWT_PUBLIC_KEY`, `SIDECAST_JWT_JWKS_URL`, `SIDECAST_JWT_OIDC_ISSUER` or `SIDECAST_JWT_JWKS_FILE`. Its `_FILE` is watched.',
    ),
  SECRET_ENCODING: secretEncoding.describe(
    'How the text of the secret stands for its bytes: `utf8`, `base64`, `base64url`, `hex`. Java libraries usually decode base64, PHP libraries take the text as it is.',
  ),
  PUBLIC_KEY: publicKeys
    .optional()
    .describe(
      'The public key, or several one after the other, as PEM (public key or certificate; RSA, P-256, P-384, P-521, Ed25519). `\\n` may stand for a line end. Its `_FILE` is watched.',
    ),
  JWKS_URL: url.optional().describe('Where the issuer publishes its keys (JWKS). Fetched again when they change; the last good ones are kept.'),
  OIDC_ISSUER: oidcIssuer
    .optional()
    .describe(
      'The issuer of OpenID Connect, whose discovery document says where its keys are; `iss` must be it unless `SIDECAST_JWT_ISSUER` says otherwise.',
    ),
  JWKS_FILE: text.optional().describe('A file that holds a JWKS, also with secrets (`oct`). Watched.'),
  PRESET: choice(presetNames)
    .optional()
    .describe(`What is usual with an issuer: ${presetNames.map((name) => `\`${name}\``).join(', ')}. Whatever else is set wins over it.`),
  ALGORITHMS: choices(algorithms)
    .optional()
    .describe(
      'The algorithms that are accepted; each must be one of a configured key. Unset: all of the configured keys. HS\\* never goes with public keys, `none` never.',
    ),
  ISSUER: itemsBy(parseIssuer)
    .optional()
    .describe('List: what `iss` may be, exactly, or beginning so where a `*` stands at the end (`https://shop.example.com/*`). Unset: not checked.'),
  AUDIENCE: texts.optional().describe('List: `aud` must be or contain one of them. Unset: not checked.'),
  AUTHORIZED_PARTY: texts.optional().describe('List: what `azp`, or else `client_id`, may be. Unset: not checked.'),
  TYPE: texts.optional().describe('List: what the header `typ` may be, such as `at+jwt`. Unset: not checked.'),
  REQUIRED_CLAIMS: itemsBy(parseRequiredClaim)
    .optional()
    .describe(
      'List of claims that must be there, by their path: `token_use=access`, `tenant`. They tell login tokens from others that the same key signs.',
    ),
  REQUIRE_EXP: truth.prefault('true').describe('Whether a token without `exp` is refused.'),
  MAX_LIFE: duration('1s', '3650d')
    .optional()
    .describe('How long a token may live, from `iat` to `exp`; it must have both then. Unset: as long as it says.'),
  NUMERIC_STRING_DATES: truth.prefault('false').describe('Whether `exp`, `nbf` and `iat` may be texts of digits, as firebase/php-jwt takes them.'),
  USER_CLAIM: texts
    .prefault('sub')
    .describe('List: the claim that holds the user; the first present one wins. Dots go into objects: `data.user.id`.'),
  ROOMS_CLAIM: text
    .prefault('rooms')
    .describe(
      'The claim that lists rooms. Exact names are joined at connect; with `*` (one segment) or a final `**` (the rest) it allows joining on request.',
    ),
  ROOM_TEMPLATES: listBy(splitTemplates)
    .transform(byEach((item) => parseRoomTemplate(item).text))
    .optional()
    .describe(
      'List: rooms that are joined at connect, made of other claims: `role:{roles[]}` for each of a list, `scope:{scope[ ]}` for each word of a text, `tenant:{tenant}`; `{user}` is the user. `user:{user}` is always joined.',
    ),
}

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
    JWT_SECRET: issuer.SECRET,
    JWT_SECRET_ENCODING: issuer.SECRET_ENCODING,
    JWT_PUBLIC_KEY: issuer.PUBLIC_KEY,
    JWT_JWKS_URL: issuer.JWKS_URL,
    JWT_OIDC_ISSUER: issuer.OIDC_ISSUER,
    JWT_JWKS_FILE: issuer.JWKS_FILE,
    JWT_PRESET: issuer.PRESET,
    JWT_ALGORITHMS: issuer.ALGORITHMS,
    JWT_ISSUER: issuer.ISSUER,
    JWT_AUDIENCE: issuer.AUDIENCE,
    JWT_AUTHORIZED_PARTY: issuer.AUTHORIZED_PARTY,
    JWT_TYPE: issuer.TYPE,
    JWT_REQUIRED_CLAIMS: issuer.REQUIRED_CLAIMS,
    JWT_REQUIRE_EXP: issuer.REQUIRE_EXP,
    JWT_MAX_LIFE: issuer.MAX_LIFE,
    JWT_NUMERIC_STRING_DATES: issuer.NUMERIC_STRING_DATES,
    JWT_USER_CLAIM: issuer.USER_CLAIM,
    JWT_ROOMS_CLAIM: issuer.ROOMS_CLAIM,
    JWT_ROOM_TEMPLATES: issuer.ROOM_TEMPLATES,
    JWT_CLOCK_TOLERANCE: duration('0s', '1h').prefault('30s').describe('How far the clocks of issuers and bridge may differ.'),
    // As a list of maps it does not come here.
    JWT_ISSUERS: z
      .custom<never>(() => false, {
        error: 'must be a list of maps, such as [{ name: shop, issuer: https://shop.example.com, secretFile: secrets/jwt }]',
      })
      .optional()
      .describe(
        'In a configuration file only: several issuers, each with a `name` and settings of its own (`jwt.issuers: [{ name, issuer, jwksUrl, … }]`, the names above without `JWT_`).',
      ),
    REVOCATION_AGE: duration('1s', '3650d')
      .prefault('400d')
      .describe('How long a revocation is remembered where tokens have no `SIDECAST_JWT_MAX_LIFE`: at least as long as a token lives.'),
    TOKEN_SOURCES: itemsBy(parseTokenSource)
      .prefault('auth,header')
      .describe(
        'List: where the token is looked for. `auth` (`token` of the Socket.IO handshake, else `headers.Authorization`, as of Laravel Echo), `header` (`Authorization: Bearer`), `cookie:NAME` (needs `SIDECAST_ALLOWED_ORIGINS`; `cookie:NAME+NAME2` for a token that is split over both), `query:NAME` (addresses end up in logs).',
      ),
  },
  'The application decides': {
    AUTHORIZE_CONNECT_URL: url
      .optional()
      .describe(
        'Asked who it is where no JWT says so: your application knows its session cookies and opaque tokens. See docs/authorization.md. Unset: tokens decide.',
      ),
    AUTHORIZE_ROOMS_URL: url.optional().describe('Asked when a session wants to join a room that its token does not open. Unset: then it may not.'),
    AUTHORIZE_SECRET: text
      .transform(by((value) => parseWebhookSecret(value)))
      .optional()
      .describe(
        '`whsec_` and base64, at least 24 bytes: what these calls are signed with (Standard Webhooks), so that the application knows who asks.',
      ),
    AUTHORIZE_TIMEOUT: duration('50ms', '1m').prefault('2s').describe('How long an answer may take; later it is a no.'),
    AUTHORIZE_CACHE: duration('0s', '1h').prefault('10s').describe('How long an answer holds for the same question.'),
    AUTHORIZE_FORWARD: itemsBy(parseHeaderName)
      .optional()
      .describe('List: headers of the handshake that are sent along, such as `authorization,cookie`. Unset: none.'),
    INTROSPECTION_URL: url
      .optional()
      .describe('Where the issuer says whether a token is in force (RFC 7662), for tokens that are no JWT. Unset: off.'),
    INTROSPECTION_CLIENT_ID: text.optional().describe('Who the bridge is there.'),
    INTROSPECTION_CLIENT_SECRET: text.optional().describe('And the secret that proves it.'),
  },
  Browsers: {
    ALLOWED_ORIGINS: itemsBy(parseOrigin)
      .optional()
      .describe(
        'List: the exact origins whose pages may connect, such as `https://app.example.com`. Unset: no page may; what sends no `Origin` (servers, native apps) may.',
      ),
    TRANSPORTS: choices(['websocket', 'polling']).prefault('websocket,polling').describe('List of `websocket`, `polling`.'),
    SERVE_CLIENT: truth.prefault('true').describe('Whether `/socket.io/socket.io.js` and its variants are served.'),
    CONNECT_TIMEOUT: duration('100ms', '10m').prefault('10s').describe('How long a connection may take to present its token.'),
    PING_INTERVAL: duration('100ms', '1h').prefault('25s').describe('How often a silent connection is asked whether it is alive.'),
    PING_TIMEOUT: duration('100ms', '1h').prefault('20s').describe('How long the answer may take before the connection counts as lost.'),
    SESSIONS_PER_USER: integer(1, 1_000_000)
      .prefault('100')
      .describe(
        'How many sessions one user may have open. Workers and nodes hear of each other’s sessions a moment later: of logins at the same moment each of them may let in so many.',
      ),
    CONNECTIONS_PER_IP: integer(1, 1_000_000)
      .optional()
      .describe('How many connections one address (of IPv6: one /64) may have open, at each worker. Unset: any number.'),
    REFUSALS_PER_IP: integer(0, 1_000_000)
      .prefault('50')
      .describe(
        'How many refused handshakes a second one address may cause, ten times that at once, before it is refused without a look at its token; all addresses together: four times as many, and then those wait that were refused a moment ago. Each worker counts alone. `0`: any number.',
      ),
    TRUSTED_PROXIES: itemsBy(parseProxy)
      .optional()
      .describe('List: proxies whose `X-Forwarded-For` is believed: addresses, ranges (`10.0.0.0/8`), `loopback`, `private`. Unset: none.'),
    ROOMS_PER_SESSION: integer(1, 1_000_000)
      .prefault('1000')
      .describe(
        'A session that is in so many rooms joins no other on request (`room_limit`). All of its rooms count; those of its token, and those into which the backend puts it, are never refused: a token has at most 8192 characters, an answer of the application 64 KB.',
      ),
    MAX_BUFFER: size('1kb', '1gb')
      .prefault('1mb')
      .describe(
        'How many bytes may wait in memory for one session. One that is slower reads on from the log; one that takes nothing for 5 s is cut off and resumes. At least `SIDECAST_MAX_EVENT_SIZE`.',
      ),
    MAX_BUFFERED: size('1mb', '64gb')
      .prefault('512mb')
      .describe(
        'How many bytes may wait in memory for all sessions of a process together. From 80 % of it on publishers are answered 503 `overloaded` and RabbitMQ is not read, until it is 60 %. The sessions for which most waits are cut off, and resume, at 100 %, or after 5 s; then also all that have taken nothing meanwhile. At least two times `SIDECAST_MAX_BUFFER`.',
      ),
    MAX_LAG: duration('5s', '1h')
      .prefault('1m')
      .describe('How long a byte may wait in memory for one session, however slowly it is taken: then the session is cut off and resumes.'),
  },
  Publishing: {
    API_KEYS: itemsBy(parseApiKey)
      .transform(by(checkApiKeys))
      .optional()
      .describe(
        'List of `name:key[:scope+scope]`. The key: at least 32 characters, or `sha256:` and the 64 hex digits of its SHA-256. Scopes: `publish`, `read`, `admin`; without scopes: `publish`. Two keys of one name are one publisher that changes its key. In a configuration file also maps: `name`, `key` or `sha256`, `scopes`, `rooms`, `events`.',
      ),
    SIGNING_KEYS: itemsBy(parseSigningKey)
      .transform(by(checkSigningKeys))
      .optional()
      .describe(
        'List of `name:whsec_…[:scope+scope]`: who may sign requests instead of sending a key (Standard Webhooks). In a configuration file also maps: `name`, `secret`, `scopes`, `rooms`, `events`.',
      ),
    SERVICE_JWT_SECRET: text
      .optional()
      .describe('The secret that signs the tokens of services, which may publish by their scopes. Or a public key, or a JWKS.'),
    SERVICE_JWT_SECRET_ENCODING: secretEncoding.describe('As for `SIDECAST_JWT_SECRET`.'),
    SERVICE_JWT_PUBLIC_KEY: publicKeys.optional().describe('The public keys of the tokens of services, as PEM.'),
    SERVICE_JWT_JWKS_URL: url.optional().describe('Where the issuer of the tokens of services publishes its keys.'),
    SERVICE_JWT_ISSUER: text.optional().describe('What their `iss` must be. Unset: not checked.'),
    SERVICE_JWT_AUDIENCE: text.optional().describe('What their `aud` must be or contain; required with them, and never an audience of login tokens.'),
    SERVICE_JWT_SCOPE_CLAIM: text
      .prefault('scope')
      .describe('The claim that holds their scopes: a list, or a text of words. `publish`, `read` and `admin` count.'),
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
        'The broker that the application publishes to: `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS; `?heartbeat=5` in seconds: who is silent for two to three of them is gone. Unset: off.',
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
    AMQP_BINDINGS: itemsBy(parseBinding)
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
    DRAIN_LEAD: duration('0s', longestTimer)
      .prefault('0s')
      .describe(
        'On shutdown, how long `/readyz` fails before anything else changes: what a load balancer needs to notice, some of its health checks.',
      ),
    DRAIN_PERIOD: duration('0s', longestTimer)
      .prefault('5s')
      .describe('On shutdown, after `SIDECAST_DRAIN_LEAD`, clients are closed spread over this time, so that they do not all come back at once.'),
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
  ...groups['The application decides'],
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
  'AUTHORIZE_SECRET',
  'INTROSPECTION_CLIENT_SECRET',
  'API_KEYS',
  'SIGNING_KEYS',
  'SERVICE_JWT_SECRET',
  'SERVICE_JWT_PUBLIC_KEY',
  'AMQP_URL',
  'AMQP_CA',
  'REDIS_URL',
  'REDIS_CA',
] as const satisfies readonly VariableName[]

/** What a configuration file may hold as a list of maps, and what nothing else than one can hold. */
export const listNames = ['JWT_ISSUERS', 'API_KEYS', 'SIGNING_KEYS'] as const satisfies readonly VariableName[]
export const fileOnlyNames = ['JWT_ISSUERS'] as const satisfies readonly VariableName[]

/** The maps in these lists. */
export const issuerSchema = z.object({ NAME: text.optional(), ...issuer })
const publisher = {
  NAME: text.transform(by(parsePublisherName)),
  SCOPES: choices(scopes).prefault('publish'),
  ROOMS: itemsBy(parsePattern).optional(),
  EVENTS: itemsBy(parsePattern).optional(),
}
export const apiKeySchema = z.object({ ...publisher, KEY: text.optional(), SHA256: text.optional() })
export const signingKeySchema = z.object({ ...publisher, SECRET: text.transform(by((value) => parseWebhookSecret(value))) })

export type IssuerValues = z.output<typeof issuerSchema>

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
