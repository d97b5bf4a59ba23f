import { hash } from 'node:crypto'
import { parseSecret, type VerifyKey } from '../auth/keys.ts'
import { BridgeError } from '../errors.ts'
import type { Values, VariableName } from './reference.ts'

/** Variables that are each well written but cannot go together. `also`: the others that are involved. */
export interface Contradiction {
  readonly name: VariableName
  readonly also?: readonly VariableName[]
  readonly detail: string
}

export interface KeyCheck {
  readonly keys: readonly VerifyKey[]
  readonly contradictions: readonly Contradiction[]
}

export const besidePublicKey = 'stands beside SIDECAST_JWT_PUBLIC_KEY, and they exclude each other: give the one that your issuer signs with'

const keyVariables = ['JWT_SECRET', 'JWT_SECRET_ENCODING', 'JWT_PUBLIC_KEY'] as const

/** The keys that verify login tokens, and what is wrong with them. */
export function checkKeys(values: Values): KeyCheck {
  const { JWT_SECRET: secret, JWT_SECRET_ENCODING: encoding, JWT_PUBLIC_KEY: publicKeys = [] } = values
  const refused = (detail: string): KeyCheck => ({ keys: [], contradictions: [{ name: 'JWT_SECRET', also: keyVariables, detail }] })
  // Two ways to sign at once is how a public key ends up verifying what was "signed" with itself (RFC 8725 3.1).
  if (secret !== undefined && publicKeys.length > 0) return refused(besidePublicKey)
  if (secret === undefined) {
    return publicKeys.length > 0
      ? { keys: publicKeys, contradictions: [] }
      : refused('is needed, or SIDECAST_JWT_PUBLIC_KEY: the key of your application that login tokens are verified with')
  }
  try {
    return { keys: [parseSecret(secret, encoding)], contradictions: [] }
  } catch (error) {
    if (error instanceof BridgeError) return refused(error.message)
    throw error
  }
}

/** What cannot go together. `keys`: as `checkKeys` returned them. */
export function checkTogether(values: Values, keys: readonly VerifyKey[]): readonly Contradiction[] {
  return [
    checkAlgorithms(values, keys),
    checkSharedSecret(values),
    checkCookie(values),
    checkListeners(values),
    checkMetrics(values),
    ...checkAmqp(values),
    ...checkSizes(values),
  ].filter((contradiction) => contradiction !== undefined)
}

/** Whoever holds the key of one side must not be able to act on the other. */
function checkSharedSecret({ JWT_SECRET: secret, API_KEYS: keys = [] }: Values): Contradiction | undefined {
  if (secret === undefined) return undefined
  const digest = hash('sha256', secret, 'buffer')
  const shared = keys.find(({ sha256 }) => sha256.equals(digest))
  const detail = `is also the API key ${shared?.name}: whoever may publish could sign logins. Give each its own (openssl rand -base64 48)`
  return shared === undefined ? undefined : { name: 'JWT_SECRET', also: ['API_KEYS'], detail }
}

function checkAlgorithms({ JWT_ALGORITHMS: wanted = [] }: Values, keys: readonly VerifyKey[]): Contradiction | undefined {
  const possible = keys.flatMap(({ algorithms }) => algorithms)
  const unserved = wanted.filter((algorithm) => !possible.includes(algorithm))
  if (keys.length === 0 || unserved.length === 0) return undefined
  const detail = unserved.every((algorithm) => algorithm.startsWith('HS'))
    ? `holds ${unserved.join(', ')} together with a public key, with which everybody could then sign: leave out HS*`
    : `holds ${unserved.join(', ')}, which no configured key can verify: the keys can verify ${[...new Set(possible)].join(', ')}`
  return { name: 'JWT_ALGORITHMS', also: keyVariables, detail }
}

function checkCookie({ TOKEN_SOURCES: sources, ALLOWED_ORIGINS: origins = [] }: Values): Contradiction | undefined {
  // Browsers send cookies for any page; without a list of origins a foreign page could open a session of its visitor.
  if (origins.length > 0 || !sources.some(({ kind }) => kind === 'cookie')) return undefined
  return {
    name: 'TOKEN_SOURCES',
    also: ['ALLOWED_ORIGINS'],
    detail: 'holds a cookie, which any page could make the browser send: set SIDECAST_ALLOWED_ORIGINS',
  }
}

function checkListeners(values: Values): Contradiction | undefined {
  const { PUBLIC_HOST: host, PRIVATE_HOST: other, PUBLIC_PORT: port } = values
  const anywhere = ['0.0.0.0', '::']
  const overlap = host === other || anywhere.includes(host) || anywhere.includes(other)
  if (port === 0 || port !== values.PRIVATE_PORT || !overlap) return undefined
  return {
    name: 'PRIVATE_PORT',
    also: ['PUBLIC_HOST', 'PRIVATE_HOST', 'PUBLIC_PORT'],
    detail: `puts both listeners on the port ${port} (${host} and ${other}): give SIDECAST_PUBLIC_PORT and SIDECAST_PRIVATE_PORT different ports`,
  }
}

function checkMetrics({ METRICS_KEY: needed, API_KEYS: keys = [] }: Values): Contradiction | undefined {
  if (!needed || keys.some(({ scopes }) => scopes.includes('read'))) return undefined
  return { name: 'METRICS_KEY', also: ['API_KEYS'], detail: 'closes the metrics to everybody: no key in SIDECAST_API_KEYS has the scope read' }
}

function checkAmqp({
  AMQP_EXCHANGE: exchange,
  AMQP_QUEUE: queue,
  AMQP_DEAD_LETTER: deadLetter,
  AMQP_BINDINGS: bindings = [],
}: Values): readonly Contradiction[] {
  const detail = 'is also where events come from: what cannot be delivered would be consumed again and again'
  const meets = queue === deadLetter || exchange === deadLetter || bindings.some((binding) => binding.exchange === deadLetter)
  return meets ? [{ name: 'AMQP_DEAD_LETTER', also: ['AMQP_EXCHANGE', 'AMQP_QUEUE', 'AMQP_BINDINGS'], detail }] : []
}

/** An event that may be published must fit where it has to go; one that never fits would cut its session off again after each resume. */
function checkSizes({ MAX_EVENT_SIZE: event, MAX_BATCH_SIZE: batch, MAX_BUFFER: buffer }: Values): readonly Contradiction[] {
  const detail = 'is less than SIDECAST_MAX_EVENT_SIZE: the largest event would never fit'
  return [
    ...(batch < event ? [{ name: 'MAX_BATCH_SIZE', also: ['MAX_EVENT_SIZE'], detail } as const] : []),
    ...(buffer < event ? [{ name: 'MAX_BUFFER', also: ['MAX_EVENT_SIZE'], detail } as const] : []),
  ]
}
