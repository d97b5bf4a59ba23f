import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { parseJson } from '../core/json.ts'
import { BridgeError } from '../errors.ts'

/** The media type without its parameters, in lower case. @throws BridgeError unsupported_media_type when there is none or it is not UTF-8 */
export function mediaTypeOf(request: IncomingMessage): string {
  const [essence = '', ...parameters] = (request.headers['content-type'] ?? '').toLowerCase().split(';')
  if (essence.trim() === '') throw new BridgeError('unsupported_media_type', `The request has no Content-Type; ${cure}`)
  const charset = parameters.map((parameter) => /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/.exec(parameter)?.[1]).find((value) => value !== undefined)
  // RFC 8259, 8.1.
  if (charset !== undefined && charset !== 'utf-8' && charset !== 'utf8')
    throw new BridgeError('unsupported_media_type', 'JSON is UTF-8; no other charset is taken.')
  return essence.trim()
}

const cure = 'send application/json (a batch: also application/x-ndjson)'

/** @throws BridgeError unsupported_media_type */
export function refuseMediaType(type: string, accepted: readonly string[]): void {
  if (accepted.includes(type)) return
  // What is no media type is not repeated.
  const got = /^[\w.+-]{1,60}\/[\w.+-]{1,60}$/.test(type) ? type : 'what is no media type'
  throw new BridgeError('unsupported_media_type', `Got ${got}; ${cure}`)
}

/** A small compressed body can become a large one, so none is unpacked. @throws BridgeError unsupported_media_type */
export function refuseEncoding(request: IncomingMessage): void {
  const encoding = request.headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw new BridgeError('unsupported_media_type', 'The body must not be compressed.')
}

/** The bytes as JSON. @throws BridgeError invalid_json */
export function parseJsonBytes(bytes: Buffer): unknown {
  if (bytes.byteLength === 0) throw new BridgeError('invalid_json', 'The body is empty.')
  if (!isUtf8(bytes)) throw new BridgeError('invalid_json', 'The body is not UTF-8.')
  const text = bytes.toString('utf8')
  // RFC 8259, 8.1: a sender must not add one.
  if (text.startsWith('\ufeff')) throw new BridgeError('invalid_json', 'The body begins with a byte order mark; send UTF-8 without it.')
  return parseJson(text)
}

export interface BodyLimits {
  readonly maxBytes: number
  /** From the headers to the last byte: a body that trickles in does not hold a connection for longer. */
  readonly timeoutMs: number
}

/**
 * The body as it came.
 * @throws BridgeError event_too_large, request_timeout, invalid_request (the client left half-way)
 */
export function readBody(request: IncomingMessage, { maxBytes, timeoutMs }: BodyLimits): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const tooLarge = () => new BridgeError('event_too_large', `The body is larger than ${maxBytes} bytes.`)
    // Before a byte is read.
    if (Number(request.headers['content-length']) > maxBytes) {
      reject(tooLarge())
      return
    }
    const chunks: Buffer[] = []
    let bytes = 0
    const timer = setTimeout(() => stop(new BridgeError('request_timeout')), timeoutMs)
    const stop = (error: BridgeError | undefined) => {
      clearTimeout(timer)
      request.off('data', onData).off('end', onEnd).off('close', onClose)
      if (error === undefined) resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, bytes))
      else reject(error)
    }
    const onData = (chunk: Buffer) => {
      bytes += chunk.byteLength
      if (bytes > maxBytes) stop(tooLarge())
      else chunks.push(chunk)
    }
    const onEnd = () => stop(undefined)
    const onClose = () => stop(new BridgeError('invalid_request', 'The body ended early.'))
    request.on('data', onData).on('end', onEnd).on('close', onClose)
  })
}
