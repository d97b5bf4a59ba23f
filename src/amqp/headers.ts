import { isUtf8 } from 'node:buffer'
import { isRawNumber } from '../core/json.ts'
import { BridgeError } from '../errors.ts'

/** The headers of a message by their names in lower case: frameworks disagree about the case. */
export type Headers = ReadonlyMap<string, unknown>

const none: Headers = new Map()

// What others have put there twice does not matter to anybody here.
const read = /^(?:sidecast-|cloudevents[:_]|ce-|type$|__typeid__$)/

/** Of two that differ in case only, one would be lost: who gets the event must not depend on which. @throws BridgeError invalid_event */
export function toHeaders(table: Readonly<Record<string, unknown>> | undefined): Headers {
  if (table === undefined) return none
  const headers = new Map<string, unknown>()
  for (const [name, value] of Object.entries(table)) {
    const key = name.toLowerCase()
    if (headers.has(key) && headers.get(key) !== value && read.test(key))
      throw new BridgeError('invalid_event', `the header ${key} is there twice, in different cases, and does not say the same`)
    headers.set(key, value)
  }
  return headers
}

/** A value and the name under which its publisher knows it. */
export interface Field {
  readonly name: string
  readonly value: unknown
}

/** A header or an attribute as text. Java sends `byte[]` as bytes. @throws BridgeError invalid_event */
export function toText({ name, value }: Field): string {
  if (typeof value === 'string') return intact(name, value)
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  if (Buffer.isBuffer(value) && isUtf8(value)) return value.toString('utf8')
  throw new BridgeError('invalid_event', `${name} is ${describe(value)}; it has to be text`)
}

/** One or more names: comma-separated text, a number, or an array of these. Whether they are good names is for the gate. @throws BridgeError invalid_event */
export function toList({ name, value }: Field): readonly unknown[] {
  if (Array.isArray(value)) return value.map((item: unknown, index) => toItem({ name: `${name}[${index}]`, value: item }))
  const item = toItem({ name, value })
  return typeof item === 'string' ? item.split(',').map((part) => part.trim()) : [item]
}

/** Numbers stay numbers: the gate refuses those that have lost digits. */
function toItem(field: Field): unknown {
  return typeof field.value === 'number' || isRawNumber(field.value) ? field.value : toText(field)
}

/** @throws BridgeError invalid_event */
export function toFlag({ name, value }: Field): boolean {
  if (typeof value === 'boolean') return value
  if (value === 'true') return true
  if (value === 'false') return false
  const isNumber = typeof value === 'number' || isRawNumber(value)
  const kind = typeof value === 'string' ? 'other text' : isNumber ? 'a number' : describe(value)
  throw new BridgeError('invalid_event', `${name} is ${kind}; it has to be true or false`)
}

/** What was not UTF-8 has become U+FFFD on the way, and two different names could have become the same. @throws BridgeError invalid_event */
export function intact(name: string, text: string): string {
  if (text.includes('\ufffd')) throw new BridgeError('invalid_event', `${name} is not UTF-8`)
  return text
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'empty'
  if (typeof value === 'number' || isRawNumber(value)) return 'a number that may have lost digits'
  if (Buffer.isBuffer(value)) return 'bytes that are not UTF-8'
  if (typeof value !== 'object') return `a ${typeof value}`
  if (Array.isArray(value)) return 'an array'
  // So the client library marks the types of AMQP that JavaScript does not have.
  return '!' in value ? `a ${String(value['!'])}` : 'a table'
}
