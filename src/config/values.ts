import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import { BridgeError } from '../errors.ts'

/** Where a login token may be found in a handshake. */
export type TokenSource =
  | { readonly kind: 'auth' }
  | { readonly kind: 'header' }
  /** Several: the token is split over them, and joined with dots. */
  | { readonly kind: 'cookie'; readonly names: readonly string[] }
  | { readonly kind: 'query'; readonly name: string }

const refuse = (detail: string): BridgeError => new BridgeError('invalid_config', detail)

const maxWorkers = 64

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const sizeUnits = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 } as const

interface Bounds {
  readonly min: string
  readonly max: string
}

/** Milliseconds. @throws BridgeError invalid_config */
export function parseDuration(text: string, bounds: Bounds): number {
  return parseMeasure(text, durationUnits, bounds, 'must be a duration such as 500ms, 30s, 5m, 24h or 7d')
}

/** Bytes; a kb is 1024 of them. @throws BridgeError invalid_config */
export function parseSize(text: string, bounds: Bounds): number {
  return parseMeasure(text.toLowerCase(), sizeUnits, bounds, 'must be a size such as 512b, 64kb, 1mb or 1gb')
}

function parseMeasure(text: string, units: Readonly<Record<string, number>>, { min, max }: Bounds, cure: string): number {
  const measure = (written: string): number | undefined => {
    const [, count, unit = ''] = /^(\d{1,12})([a-z]+)$/.exec(written) ?? []
    const factor = Object.hasOwn(units, unit) ? units[unit] : undefined
    return count === undefined || factor === undefined ? undefined : Number(count) * factor
  }
  const value = measure(text)
  if (value === undefined) throw refuse(cure)
  if (value < (measure(min) ?? 0) || value > (measure(max) ?? 0)) throw refuse(`must lie between ${min} and ${max}`)
  return value
}

/** `besides`: what else it may be, for the message. @throws BridgeError invalid_config */
export function parseInteger(text: string, min: number, max: number, besides = ''): number {
  // tcp:// is what Kubernetes puts into <SERVICE>_PORT of every pod; a Service called sidecast-public thus sets SIDECAST_PUBLIC_PORT.
  if (text.startsWith('tcp://')) throw refuse('was set by Kubernetes for a Service of that name: give the pod enableServiceLinks: false')
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw refuse(`must be ${besides}an integer from ${min} to ${max}`)
  return value
}

/** The name or address that a listener binds to. @throws BridgeError invalid_config */
export function parseHost(text: string): string {
  if (isIP(text) === 0 && !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(text))
    throw refuse('must be an address or a host name alone, such as 0.0.0.0, ::1 or localhost: no scheme, port or brackets')
  return text.toLowerCase()
}

/** A list in one text: split at commas and line ends. */
export function splitList(text: string): readonly string[] {
  return text
    .split(/[,\n]/)
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/** @throws BridgeError invalid_config */
export function parseChoice<T extends string>(item: string, choices: readonly T[]): T {
  const choice = choices.find((known) => known === item)
  if (choice === undefined) throw refuse(`cannot hold ${JSON.stringify(item)}: possible are ${choices.join(', ')}`)
  return choice
}

/** The origin as browsers send it. @throws BridgeError invalid_config */
export function parseOrigin(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#@\s*\\]+$/i.test(text) || !URL.canParse(text))
    throw refuse(
      `holds ${JSON.stringify(text)}, which is no exact origin: write scheme://host[:port] such as https://app.example.com, no path and no *${text.startsWith('*') ? ': every page could connect with the cookies of its visitor' : ''}`,
    )
  const { origin } = new URL(text)
  // Apps in a web view have schemes of their own (capacitor://localhost), to which the URL standard gives no origin.
  return origin === 'null' ? text.toLowerCase() : origin
}

/** An exchange of the application and the routing keys that are wanted of it. */
export interface Binding {
  readonly exchange: string
  readonly key: string
}

/** The address of a broker. No message repeats it: it holds a password. @throws BridgeError invalid_config */
export function parseBrokerUrl(text: string): string {
  const form = 'amqp://user:password@host:port/vhost or amqps://'
  if (!URL.canParse(text)) throw refuse(`must be ${form}; reserved characters in user, password and vhost are percent-encoded`)
  const { protocol, hostname, username, password, pathname, searchParams, hash: fragment } = new URL(text)
  if (protocol !== 'amqp:' && protocol !== 'amqps:') throw refuse(`must be ${form}`)
  if (hostname === '') throw refuse(`names no host: it must be ${form}`)
  if (/^\/.*\//.test(pathname) || fragment !== '') throw refuse('must end with one vhost; a slash in its name is %2F')
  const unknown = [...searchParams.keys()].find((key) => key !== 'heartbeat')
  if (unknown !== undefined) throw refuse('may have only heartbeat= (seconds) after the question mark')
  const heartbeat = searchParams.get('heartbeat')
  if (heartbeat !== null) parseInteger(heartbeat, 1, 3600)
  for (const part of [username, password, pathname]) {
    try {
      decodeURIComponent(part)
    } catch {
      throw refuse('has a % that is not followed by two hex digits of UTF-8: a % itself is %25')
    }
  }
  return text
}

/** The name of an exchange or a queue. @throws BridgeError invalid_config */
export function parseBrokerName(text: string): string {
  // AMQP 0-9-1, 4.2.5.3: a short string. The broker keeps the names with amq. to itself.
  if (text === '' || Buffer.byteLength(text) > 255 || /\p{Cc}/u.test(text)) throw refuse('must be 1 to 255 bytes without control characters')
  if (text.startsWith('amq.')) throw refuse('cannot begin with amq., which the broker keeps for its own')
  return text
}

/** Reads `exchange:key`; the key is what follows the last colon. @throws BridgeError invalid_config */
export function parseBinding(text: string): Binding {
  const colon = text.lastIndexOf(':')
  const [exchange, key] = [text.slice(0, colon), text.slice(colon + 1)]
  if (colon < 1 || [exchange, key].some((part) => Buffer.byteLength(part) > 255 || /\p{Cc}/u.test(part)))
    throw refuse(`cannot hold ${JSON.stringify(text)}: write exchange:key such as orders:order.# (for a fanout exchange orders:)`)
  return { exchange, key }
}

/** Certificates. @throws BridgeError invalid_config */
export function parseCertificates(text: string): string {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? []
  if (blocks.length === 0) throw refuse('holds no certificate: it must be PEM (-----BEGIN CERTIFICATE-----)')
  for (const block of blocks) {
    try {
      new X509Certificate(block)
    } catch {
      throw refuse('holds a certificate that cannot be read')
    }
  }
  return text
}

/** @throws BridgeError invalid_config */
export function parseTokenSource(text: string): TokenSource {
  if (text === 'auth' || text === 'header') return { kind: text }
  const [, kind, name = ''] = /^(cookie|query):([A-Za-z0-9!#$%&'*+.^_`|~-]+)$/.exec(text) ?? []
  const names = name.split('+')
  if (kind === 'query' && name !== '') return { kind, name }
  if (kind === 'cookie' && !names.includes('')) return { kind, names }
  throw refuse(
    `cannot hold ${JSON.stringify(text)}: possible are auth, header, cookie:NAME, cookie:NAME+NAME2 (one token split over both), query:NAME`,
  )
}

/** Templates of rooms; commas within braces do not separate them. */
export function splitTemplates(text: string): readonly string[] {
  return text
    .split(/[,\n](?![^{}]*\})/)
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/** @throws BridgeError invalid_config */
export function parseWorkers(value: string): number {
  return value === 'auto' ? Math.min(availableParallelism(), maxWorkers) : parseInteger(value, 1, maxWorkers, 'auto or ')
}
