import { hash } from 'node:crypto'
import { isPlaceholder } from '../auth/keys.ts'
import { type Publisher, type Scope, scopes } from '../core/access.ts'
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

const refuse = (detail: string): BridgeError => new BridgeError('invalid_config', detail)

/** @throws BridgeError invalid_config */
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

/** Reads `name:key[:scope+scope]` and `name:sha256:<hex>[:scope+scope]`. No message repeats what may be a key. @throws BridgeError invalid_config */
export function parseApiKey(item: string, index: number): ApiKey {
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

/** A name with `*` and `**`, for the rooms and events of a key. @throws BridgeError invalid_config */
export function parsePattern(item: string): RoomPattern {
  const pattern = parseRoomPattern(item)
  if (pattern === undefined)
    throw refuse(
      `holds ${JSON.stringify(item)}: * stands for a whole segment between : . or / (order:*), ** for the rest and only at the end (order:**)`,
    )
  return pattern
}

/** Reads `name:whsec_…[:scope+scope]`. No message repeats what may be a secret. @throws BridgeError invalid_config */
export function parseSigningKey(item: string, index: number): SigningKey {
  const { name, rest } = parsePublisher(item, index, 'whsec_…')
  const [secret = '', scopeList, ...surplus] = rest
  const granted = parseScopeList(scopeList?.split('+'))
  if (surplus.length > 0 || granted === undefined)
    throw refuse(`the key ${name} must be followed by nothing or by :scope+scope with scopes of ${scopes.join(', ')}`)
  return { name, secret: parseWebhookSecret(secret, `the key ${name}`), scopes: granted }
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
