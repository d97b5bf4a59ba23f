import { type IncomingMessage, ServerResponse, STATUS_CODES } from 'node:http'
import { BridgeError, retryAfterSeconds, toBridgeError } from '../errors.ts'

/** Engine.IO's own number for a connection that it may not take. */
const engineForbidden = 4

/** Anything thrown as what a client may know of it: what is wrong on our side is `unavailable`, with the cause kept for the log. */
export function toRefusal(thrown: unknown): BridgeError {
  const error = toBridgeError(thrown)
  const { status, code, message, suspect, cause = error } = error
  return status < 500 || code === 'draining' ? error : new BridgeError('unavailable', message, { cause, suspect })
}

/** What a client is told, whatever it has asked for. `retry`: the same may succeed later. */
export function toAnswer({ code, text, retryable }: BridgeError) {
  return { code, message: text, retry: retryable }
}

/** Refuses a connection before there is one. Engine.IO's own answer has no place for when to come back, and none for the reason in its status. */
export function turnAway(request: IncomingMessage, { code, status, retryable }: BridgeError): void {
  const body = JSON.stringify({ code: engineForbidden, message: code, retry: retryable })
  const headers = {
    'Content-Type': 'application/json',
    'Content-Length': String(Buffer.byteLength(body)),
    ...(retryable ? { 'Retry-After': String(retryAfterSeconds) } : {}),
  }
  // As Engine.IO (6.6) keeps it with the request; one that asks for a WebSocket has none.
  const response: unknown = Reflect.get(request, 'res')
  if (response instanceof ServerResponse) {
    response.writeHead(status, headers).end(body)
    return
  }
  const lines = Object.entries({ Connection: 'close', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  request.socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
  request.socket.destroySoon()
}
