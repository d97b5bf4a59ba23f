import { hash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { isPlaceholder } from '../auth/keys.ts'
import { type Publisher, type Scope, scopes } from '../core/access.ts'
import { mayForward } from '../core/forwarded.ts'
import { parseRoomPattern, type RoomPattern } from '../core/room-pattern.ts'
import { BridgeError } from '../errors.ts'

/** Who may call the ingress. The key itself is not kept. */
export interface ApiKey extends Publisher {
  readonly sha256: Buffer
}

/** Who may sign requests to the ingress (Standard Webhooks). */
export interface SigningKey extends Publisher {
  readonly secret: Uint8Array
}

/** Where a login token may be found in a handshake. */
export type TokenSource =
  | { readonly kind: 'auth' }
  | { readonly kind: 'header' }
  /** Several: the token is split over them, and joined with dots. */
  | { readonly kind: 'cookie'; readonly names: readonly string[] }
  | { readonly kind: 'query'; readonly name: string }

const refuse = (detail: string): BridgeError => new BridgeError('invalid_config', detail)

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

/** @throws BridgeError invalid_config */
export function parseInteger(text: string, min: number, max: number): number {
  // tcp:// is what Kubernetes puts into <SERVICE>_PORT of every pod; a Service called sidecast-public thus sets SIDECAST_PUBLIC_PORT.
  if (text.startsWith('tcp://')) throw refuse('was set by Kubernetes for a Service of that name: give the pod enableServiceLinks: false')
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw refuse(`must be an integer from ${min} to ${max}`)
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
export function parseChoices<T extends string>(items: readonly string[], choices: readonly T[]): readonly T[] {
  const chosen = items.map((item) => {
    const choice = choices.find((known) => known === item)
    if (choice === undefined) throw refuse(`cannot hold ${JSON.stringify(item)}: possible are ${choices.join(', ')}`)
    return choice
  })
  return [...new Set(chosen)]
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

/** Reads `name:key[:scope+scope]` and `name:sha256:<hex>[:scope+scope]`. No message repeats what may be a key. @throws BridgeError invalid_config */
export function parseApiKeys(items: readonly string[]): readonly ApiKey[] {
  return checkApiKeys(items.map(parseApiKey))
}

/** What holds for all keys together. @throws BridgeError invalid_config */
export function checkApiKeys(keys: readonly ApiKey[]): readonly ApiKey[] {
  checkNames(keys)
  for (const [index, key] of keys.entries()) {
    const twin = keys.slice(0, index).find(({ sha256 }) => sha256.equals(key.sha256))
    if (twin !== undefined && twin.name === key.name) throw refuse(`holds the same key of ${key.name} twice`)
    if (twin !== undefined) throw refuse(`gives ${twin.name} and ${key.name} the same key: the scopes of which would hold?`)
  }
  return keys
}

/** Two keys of one name are one publisher in the middle of a rotation: it must not matter which of them it uses. */
function checkNames(publishers: readonly Publisher[]): void {
  const rights = ({ scopes: granted, rooms, events }: Publisher): string => JSON.stringify([granted, rooms, events])
  for (const [index, publisher] of publishers.entries()) {
    const twin = publishers.slice(0, index).find(({ name }) => name === publisher.name)
    if (twin !== undefined && rights(twin) !== rights(publisher))
      throw refuse(
        `holds two keys with the name ${publisher.name} that allow different things: give each its own name, or for a rotation the same scopes, rooms and events`,
      )
  }
}

const minKeyLength = 32

function parseApiKey(item: string, index: number): ApiKey {
  const { name, rest } = parsePublisher(item, index, 'KEY')
  const hashed = rest[0] === 'sha256'
  const [key = '', scopeList, ...surplus] = hashed ? rest.slice(1) : rest
  const granted = parseScopeList(scopeList?.split('+'))
  if (surplus.length > 0 || granted === undefined)
    throw refuse(`the key ${name} must be followed by nothing or by :scope+scope with scopes of ${scopes.join(', ')}; a key cannot hold a colon`)
  return { name, sha256: hashed ? parseSha256(key, name) : hashKey(key, name), scopes: granted }
}

function parsePublisher(item: string, index: number, form: string): { readonly name: string; readonly rest: readonly string[] } {
  const [name = '', ...rest] = item.split(':')
  if (rest.length > 0 && isPublisherName(name)) return { name, rest }
  throw refuse(
    index > 0 && scopes.some((scope) => scope === item)
      ? `entry ${index + 1} is the scope ${item} alone: scopes are joined with + (shop:${form}:publish+read)`
      : `entry ${index + 1} must be ${form === 'KEY' ? 'name:key' : 'name:whsec_…'}[:scope+scope] such as shop:${form}, the name 1 to 64 letters, digits, dots, dashes and underscores`,
  )
}

const isPublisherName = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)

/** @throws BridgeError invalid_config */
export function parsePublisherName(name: string): string {
  if (!isPublisherName(name)) throw refuse('must be 1 to 64 letters, digits, dots, dashes and underscores')
  return name
}

/** In the order of the table; undefined when one is not known. Absent: `publish`. */
function parseScopeList(items: readonly string[] = ['publish']): readonly Scope[] | undefined {
  return items.every((item) => scopes.some((known) => known === item)) ? scopes.filter((scope) => items.includes(scope)) : undefined
}

/** Names with `*` and `**`, for the rooms and events of a key. @throws BridgeError invalid_config */
export function parsePatterns(items: readonly string[]): readonly RoomPattern[] {
  return items.map((item) => {
    const pattern = parseRoomPattern(item)
    if (pattern === undefined)
      throw refuse(
        `holds ${JSON.stringify(item)}: * stands for a whole segment between : . or / (order:*), ** for the rest and only at the end (order:**)`,
      )
    return pattern
  })
}

/** Reads `name:whsec_…[:scope+scope]`. No message repeats what may be a secret. @throws BridgeError invalid_config */
export function parseSigningKeys(items: readonly string[]): readonly SigningKey[] {
  return checkSigningKeys(
    items.map((item, index) => {
      const { name, rest } = parsePublisher(item, index, 'whsec_…')
      const [secret = '', scopeList, ...surplus] = rest
      const granted = parseScopeList(scopeList?.split('+'))
      if (surplus.length > 0 || granted === undefined)
        throw refuse(`the key ${name} must be followed by nothing or by :scope+scope with scopes of ${scopes.join(', ')}`)
      return { name, secret: parseWebhookSecret(secret, `the key ${name}`), scopes: granted }
    }),
  )
}

/** @throws BridgeError invalid_config */
export function checkSigningKeys(keys: readonly SigningKey[]): readonly SigningKey[] {
  checkNames(keys)
  for (const [index, key] of keys.entries()) {
    const twin = keys.slice(0, index).find(({ secret }) => Buffer.from(secret).equals(key.secret))
    if (twin !== undefined) throw refuse(`gives ${twin.name} and ${key.name} the same secret`)
  }
  return keys
}

const minWebhookSecretBytes = 24

/** The bytes of `whsec_` and base64. @throws BridgeError invalid_config */
export function parseWebhookSecret(text: string, subject = ''): Uint8Array {
  const say = (detail: string): BridgeError => refuse(subject === '' ? detail : `${subject} ${detail}`)
  const make = '(echo "whsec_$(openssl rand -base64 32)" makes one)'
  const [, base64] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? []
  if (base64 === undefined) throw say(`must be whsec_ and base64 ${make}`)
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.toString('base64').replace(/=+$/, '') !== base64.replace(/=+$/, '')) throw say(`is not base64 behind whsec_ ${make}`)
  if (bytes.length < minWebhookSecretBytes) throw say(`has ${bytes.length} bytes; at least ${minWebhookSecretBytes} are needed ${make}`)
  if (isPlaceholder(base64) || isPlaceholder(bytes.toString('latin1'))) throw say(`is a placeholder ${make}`)
  return bytes
}

/** An address that the bridge calls. @throws BridgeError invalid_config */
export function parseHttpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw refuse('must be an address such as https://login.example.com/…')
  if (url.username !== '' || url.password !== '') throw refuse('cannot hold a user or a password: addresses end up in logs')
  if (url.hash !== '') throw refuse('cannot hold a #')
  return text
}

/** The issuer of OpenID Connect, exactly as its tokens name it. @throws BridgeError invalid_config */
export function parseOidcIssuer(text: string): string {
  const issuer = parseHttpUrl(text)
  if (issuer.includes('?')) throw refuse('cannot hold a question mark')
  if (issuer.includes('/.well-known/')) throw refuse('is the issuer alone: leave out /.well-known/openid-configuration')
  return issuer
}

/** What `iss` may be: exact, or a beginning with `*` behind it. @throws BridgeError invalid_config */
export function parseIssuer(text: string): string {
  const star = text.indexOf('*')
  if (star >= 0 && star !== text.length - 1) throw refuse(`cannot hold ${JSON.stringify(text)}: a * stands only at the end, for any rest`)
  if (text === '*') throw refuse('cannot hold "*": leave the variable out, and iss is not checked')
  // https://shop.example* would also be https://shop.example.evil.net
  if (star >= 0 && /^[a-z]+:\/\/[^/]*$/i.test(text))
    throw refuse(`cannot hold ${JSON.stringify(text)}: the host must be whole, with a slash before the * (https://shop.example.com/*)`)
  return text
}

/** `path`, or `path=value`. @throws BridgeError invalid_config */
export function parseRequiredClaim(text: string): string {
  if (/^=|^\s|\s$/.test(text)) throw refuse(`cannot hold ${JSON.stringify(text)}: write claim or claim=value, such as token_use=access`)
  return text
}

/** The name of a header, in lower case. @throws BridgeError invalid_config */
export function parseHeaderName(text: string): string {
  const name = text.toLowerCase()
  if (!mayForward(name))
    throw refuse(`cannot hold ${JSON.stringify(text)}: it is no name of a header, or one of the connection or of the bridge's own call`)
  return name
}

/** An address, a range of them as CIDR, `loopback` or `private`. @throws BridgeError invalid_config */
export function parseProxy(text: string): string {
  if (text === 'loopback' || text === 'private') return text
  const [address = '', length, ...surplus] = text.split('/')
  const family = isIP(address)
  const isLength = length === undefined || (/^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128))
  if (family === 0 || !isLength || surplus.length > 0)
    throw refuse(`cannot hold ${JSON.stringify(text)}: possible are addresses, CIDR (10.0.0.0/8), loopback and private`)
  if (length !== undefined && Number(length) === 0) throw refuse(`cannot hold ${JSON.stringify(text)}: everybody could then say to be at any address`)
  return text
}

/** Templates of rooms; commas within braces do not separate them. */
export function splitTemplates(text: string): readonly string[] {
  return text
    .split(/[,\n](?![^{}]*\})/)
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/** @throws BridgeError invalid_config */
export function parseSha256(hex: string, name: string): Buffer {
  if (!/^[0-9a-f]{64}$/i.test(hex)) throw refuse(`the key ${name} must have 64 hex digits after sha256: (printf %s "$KEY" | sha256sum)`)
  return Buffer.from(hex, 'hex')
}

/** @throws BridgeError invalid_config */
export function hashKey(key: string, name: string): Buffer {
  if (!/^[\x21-\x7e]*$/.test(key)) throw refuse(`the key ${name} must be visible ASCII: it travels in an HTTP header`)
  if (key.length < minKeyLength)
    throw refuse(`the key ${name} has ${key.length} characters; at least ${minKeyLength} are needed (openssl rand -hex 32)`)
  if (isPlaceholder(key)) throw refuse(`the key ${name} is a placeholder: make a random one (openssl rand -hex 32)`)
  return hash('sha256', key, 'buffer')
}
