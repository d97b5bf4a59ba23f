import { hash } from 'node:crypto'
import { BridgeError } from '../errors.ts'
import { type Addressing, type FieldName, fieldNames, readAddressing, refuseUnknown } from './addressing.ts'
import { type Body, parseBytes } from './body.ts'
import { type Headers, toText } from './headers.ts'

/** A CloudEvent (CloudEvents 1.0.2), as far as an event is made of it. */
export interface CloudEvent {
  readonly addressing: Addressing & { readonly event: string }
  readonly id: string
  /** Undefined: it has none. */
  readonly data: unknown
}

type Attributes = ReadonlyMap<string, unknown>

/** The CloudEvent in a message, or undefined when it is none. `body` is read only when there is one. @throws BridgeError */
export function readCloudEvent(contentType: unknown, headers: Headers, body: () => Body): CloudEvent | undefined {
  const mediaType = typeof contentType === 'string' ? contentType.toLowerCase().split(';')[0]?.trim() : undefined
  if (mediaType?.startsWith('application/cloudevents')) return readStructured(mediaType, body())
  const attributes = binaryAttributes(headers)
  return attributes === undefined ? undefined : toCloudEvent(attributes, body().value)
}

function readStructured(mediaType: string, { value }: Body): CloudEvent {
  if (mediaType !== 'application/cloudevents+json')
    throw new BridgeError('unsupported_message', 'CloudEvents are taken one by one and as application/cloudevents+json')
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new BridgeError('invalid_event', 'a CloudEvent is a JSON object')
  const attributes: Attributes = new Map(Object.entries(value))
  const encoded = attributes.get('data_base64')
  if (encoded === undefined || encoded === null) return toCloudEvent(attributes, attributes.get('data'))
  if (attributes.has('data')) throw new BridgeError('invalid_event', 'a CloudEvent has data or data_base64, not both')
  return toCloudEvent(attributes, parseBytes(fromBase64(toText({ name: 'data_base64', value: encoded }))))
}

// The AMQP binding names the first two, of which JMS can only send the second; the third is what Kafka and HTTP publishers are used to.
const prefix = /^(?:cloudevents[:_]|ce-)/

function binaryAttributes(headers: Headers): Attributes | undefined {
  const attributes = new Map<string, unknown>()
  for (const [name, value] of headers) {
    const start = prefix.exec(name)?.[0].length
    if (start === undefined) continue
    const attribute = name.slice(start)
    if (attributes.has(attribute) && attributes.get(attribute) !== value)
      throw new BridgeError(
        'invalid_event',
        `the attribute ${attribute} of CloudEvents is there twice, with different prefixes, and does not say the same`,
      )
    attributes.set(attribute, value)
  }
  return attributes.has('specversion') || attributes.has('type') ? attributes : undefined
}

function toCloudEvent(attributes: Attributes, data: unknown): CloudEvent {
  const version = required(attributes, 'specversion')
  if (!version.startsWith('1.')) throw new BridgeError('unsupported_message', `this is CloudEvents ${JSON.stringify(version)}; 1.0 is taken`)
  const known = fieldNames.filter((field) => field !== 'event').map(toAttribute)
  refuseUnknown(attributes.keys(), known, 'sidecast')
  const addressing = readAddressing((field) => {
    const name = toAttribute(field)
    return field !== 'event' && attributes.has(name) ? { name, value: attributes.get(name) } : undefined
  })
  return {
    addressing: { ...addressing, event: required(attributes, 'type') },
    id: toId(required(attributes, 'source'), required(attributes, 'id')),
    data,
  }
}

/** Names of attributes are letters and digits only. */
function toAttribute(field: FieldName): string {
  return `sidecast${field.replace('-', '')}`
}

/** CloudEvents are the same when source and id are. No URI has a `|`, so two pairs never become one id. */
function toId(source: string, id: string): string {
  const joined = `${source}|${id}`
  const fits = joined.length <= 200 && !source.includes('|') && !/[\p{Cc}\p{Cf}\p{Cs}\p{Z}]/u.test(joined)
  return fits ? joined : hash('sha256', JSON.stringify([source, id]), 'base64url')
}

function required(attributes: Attributes, name: string): string {
  const value = attributes.get(name)
  const text = value === undefined || value === null ? '' : toText({ name: `the CloudEvents attribute ${name}`, value })
  if (text === '') throw new BridgeError('invalid_event', `the CloudEvents attribute ${name} is required`)
  return text
}

function fromBase64(text: string): Buffer {
  if (!/^[\w+/-]*={0,2}$/.test(text)) throw new BridgeError('invalid_event', 'data_base64 is not base64')
  return Buffer.from(text, 'base64')
}
