import { hash } from 'node:crypto'
import type { Values, VariableName } from './reference.ts'

/** Variables that are each well written but cannot go together. `also`: the others that are involved. */
export interface Contradiction {
  readonly name: VariableName
  readonly also?: readonly VariableName[]
  readonly detail: string
  /** Whether it holds also when one of the others cannot be read. */
  readonly certain?: boolean
}

/** What cannot go together but for the issuers of tokens. */
export function checkTogether(values: Values, has: (name: VariableName) => boolean): readonly Contradiction[] {
  return [
    checkCookie(values),
    checkListeners(values),
    checkMetrics(values),
    ...checkBackend(values, has),
    ...checkAmqp(values),
    ...checkSizes(values),
  ].filter((contradiction) => contradiction !== undefined)
}

/** A secret that somebody holds. `what`: what can be done with it. */
export interface HeldSecret {
  readonly name: VariableName
  /** Within the variable: `the API key shop`. */
  readonly as: string
  /** SHA-256 of its text and of its bytes, as far as they are known. */
  readonly digests: readonly Uint8Array[]
}

export const digestsOf = (...forms: readonly (string | Uint8Array)[]): readonly Uint8Array[] => forms.map((form) => hash('sha256', form, 'buffer'))

/** Whoever holds the key of one side must not be able to act on the other. */
export function checkSharedSecrets(held: readonly HeldSecret[]): readonly Contradiction[] {
  return held.flatMap((secret, index) => {
    const shared = held
      .slice(index + 1)
      .find((other) => other.name !== secret.name && other.digests.some((digest) => secret.digests.some((own) => Buffer.from(own).equals(digest))))
    if (shared === undefined) return []
    const detail = `is also ${shared.as}: whoever holds one could act as the other. Give each its own (openssl rand -base64 48)`
    return [{ name: secret.name, also: [shared.name], detail }]
  })
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

function checkBackend(values: Values, has: (name: VariableName) => boolean): readonly Contradiction[] {
  const { AUTHORIZE_CONNECT_URL: connect, AUTHORIZE_ROOMS_URL: rooms, INTROSPECTION_URL: introspection } = values
  const urls = (['AUTHORIZE_CONNECT_URL', 'AUTHORIZE_ROOMS_URL'] as const).filter((name) => has(name))
  const useless = (names: readonly VariableName[], url: string): readonly Contradiction[] =>
    names.filter(has).map((name) => ({ name, detail: `is of no use without ${url}: set that, or leave this out` }))
  const missing = (names: readonly VariableName[], by: VariableName): readonly Contradiction[] =>
    names.filter((name) => !has(name)).map((name) => ({ name, also: [by], detail: `is needed with SIDECAST_${by}` }))
  const [asked] = urls
  return [
    ...(asked === undefined
      ? useless(['AUTHORIZE_SECRET', 'AUTHORIZE_FORWARD'], 'SIDECAST_AUTHORIZE_CONNECT_URL or SIDECAST_AUTHORIZE_ROOMS_URL')
      : has('AUTHORIZE_SECRET')
        ? []
        : [
            {
              name: 'AUTHORIZE_SECRET',
              also: urls,
              detail: `is needed with SIDECAST_${asked}: without it anybody could ask your application in the name of the bridge (echo "whsec_$(openssl rand -base64 32)" makes one)`,
            } as const,
          ]),
    ...(introspection === undefined
      ? useless(['INTROSPECTION_CLIENT_ID', 'INTROSPECTION_CLIENT_SECRET'], 'SIDECAST_INTROSPECTION_URL')
      : missing(['INTROSPECTION_CLIENT_ID', 'INTROSPECTION_CLIENT_SECRET'], 'INTROSPECTION_URL')),
    ...(connect !== undefined || rooms !== undefined ? checkForward(values) : []),
  ]
}

function checkForward({ AUTHORIZE_FORWARD: forward = [], ALLOWED_ORIGINS: origins = [] }: Values): readonly Contradiction[] {
  // As for a token in a cookie: the cookies of a visitor would speak for whatever page the visitor looks at.
  if (!forward.includes('cookie') || origins.length > 0) return []
  return [
    {
      name: 'AUTHORIZE_FORWARD',
      also: ['ALLOWED_ORIGINS'],
      detail: 'holds cookie, which any page could make the browser send: set SIDECAST_ALLOWED_ORIGINS',
    },
  ]
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
function checkSizes({ MAX_EVENT_SIZE: event, MAX_BATCH_SIZE: batch, MAX_BUFFER: buffer, MAX_BUFFERED: buffered }: Values): readonly Contradiction[] {
  const detail = 'is less than SIDECAST_MAX_EVENT_SIZE: the largest event would never fit'
  return [
    ...(batch < event ? [{ name: 'MAX_BATCH_SIZE', also: ['MAX_EVENT_SIZE'], detail } as const] : []),
    ...(buffer < event ? [{ name: 'MAX_BUFFER', also: ['MAX_EVENT_SIZE'], detail } as const] : []),
    ...(buffered < 2 * buffer
      ? [
          {
            name: 'MAX_BUFFERED',
            also: ['MAX_BUFFER'],
            detail: 'is less than two times SIDECAST_MAX_BUFFER: one slow client would keep publishers out',
          } as const,
        ]
      : []),
  ]
}
