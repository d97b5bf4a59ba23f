import { isUtf8 } from 'node:buffer'
import { parseJson } from '../core/json.ts'
import { BridgeError, toBridgeError } from '../errors.ts'
import { fromAmqp10 } from './amqp10-body.ts'
import { amqp10Type } from './type-name.ts'

/** What stands in a body. `value` undefined: nothing. */
export interface Body {
  readonly value: unknown
  /** It was a JSON string that holds JSON. */
  readonly unwrapped: boolean
}

/** What a body says about itself. */
export interface BodyProperties {
  readonly contentType?: unknown
  readonly contentEncoding?: unknown
  readonly type?: unknown
}

/** The body as JSON, whatever its content type says. @throws BridgeError invalid_json, unsupported_message, event_too_large */
export function parseBody(content: Buffer, { contentEncoding, type }: BodyProperties, maxBytes: number): Body {
  if (content.byteLength > maxBytes) throw new BridgeError('event_too_large', `the body is ${content.byteLength} bytes; the limit is ${maxBytes}`)
  refuseEncoding(contentEncoding)
  return unwrap(parseBytes(type === amqp10Type ? fromAmqp10(content) : content))
}

/** @throws BridgeError invalid_json, unsupported_message */
export function parseBytes(bytes: Buffer): unknown {
  if (bytes.byteLength === 0) return undefined
  refuseForeign(bytes)
  if (!isUtf8(bytes)) throw new BridgeError('invalid_json', 'the body is not UTF-8')
  const text = bytes.toString('utf8')
  // RFC 8259, 8.1: a sender must not add one.
  if (text.startsWith('\ufeff')) throw new BridgeError('invalid_json', 'the body begins with a byte order mark; send UTF-8 without it')
  const value = parseText(text)
  refuseJob(value)
  return value
}

function parseText(text: string): unknown {
  try {
    return parseJson(text)
  } catch (error) {
    throw new BridgeError(
      'invalid_json',
      `the body is not JSON: ${toBridgeError(error).message}; plain text has to be a JSON string, in quotation marks`,
    )
  }
}

/**
 * Once: Spring's JSON converter turns a String that is JSON already into a JSON string. Only objects and arrays are unwrapped: a string of digits was made
 * one in order to keep them.
 */
function unwrap(value: unknown): Body {
  if (typeof value !== 'string' || !/^\s*[{[]/.test(value)) return { value, unwrapped: false }
  try {
    const inner = parseJson(value)
    refuseJob(inner)
    return { value: inner, unwrapped: true }
  } catch (error) {
    if (error instanceof BridgeError && error.code === 'unsupported_message') throw error
    return { value, unwrapped: false }
  }
}

/** Spring and Python say here which charset the text has. @throws BridgeError unsupported_message */
function refuseEncoding(encoding: unknown): void {
  if (typeof encoding !== 'string' || /^(?:|identity|utf-?8|us-ascii|ascii|8bit|7bit)$/i.test(encoding)) return
  throw new BridgeError('unsupported_message', 'the content encoding is not taken: bodies are JSON in UTF-8, not compressed')
}

const phpSerialized = /^(?:[aOC]:\d+:|E:\d+:|s:\d+:\\?"|[ibd]:[-+.\dEINAF]+;|N;)/
// Symfony does this to what is not UTF-8.
const phpSerializedBase64 = /^(?:Tzo|YTo|czo|Qzo)[\w+/]+={0,2}$/

/** What is known not to be JSON, with the cure. @throws BridgeError unsupported_message */
function refuseForeign(bytes: Buffer): void {
  const first = bytes[0] ?? 0
  // The usual case: JSON begins with none of what follows.
  if (first === 0x7b || first === 0x5b || first === 0x22) return
  const head = bytes.toString('latin1', 0, 64)
  if (head.startsWith('\xac\xed\x00\x05'))
    throw unsupported(
      'a Java-serialised object: give the RabbitTemplate a Jackson2JsonMessageConverter (a bean of that type is enough in Spring Boot)',
    )
  if (phpSerialized.test(head) || phpSerializedBase64.test(head))
    throw unsupported(
      'PHP-serialised: send json_encode() of the data; in Symfony Messenger set the serializer of the transport to messenger.transport.symfony_serializer',
    )
  if (head.startsWith('\x1f\x8b')) throw unsupported('compressed with gzip: send it as it is')
  if (bytes.subarray(0, 64).some(isBinary)) throw unsupported('binary: bodies are JSON in UTF-8')
}

/** A byte that may not stand in JSON, not even in a string. */
function isBinary(byte: number): boolean {
  return byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d
}

/** A job holds a PHP-serialised object for a worker of the application; nothing of it is meant for a browser. @throws BridgeError unsupported_message */
function refuseJob(value: unknown): void {
  if (typeof value !== 'object' || value === null || !('job' in value) || !('data' in value)) return
  if (typeof value.job === 'string' && value.job.startsWith('Illuminate\\'))
    throw unsupported(
      'a Laravel queue job, which only a Laravel worker can run: publish events with php-amqplib or over HTTP instead of queueing them',
    )
}

function unsupported(what: string): BridgeError {
  return new BridgeError('unsupported_message', `the body is ${what}`)
}
