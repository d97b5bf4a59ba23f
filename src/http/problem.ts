import type { ServerResponse } from 'node:http'
import { type BridgeError, type ErrorCode, type FieldError, retryAfterSeconds } from '../errors.ts'

/** RFC 9457. `type` and `code` are stable; `title` goes with the code, `detail` is about this request. */
interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  readonly errors?: readonly FieldError[]
}

// What these say was written for the caller. All others are for operators: they may name files, hosts or what a library said.
const told: ReadonlySet<ErrorCode> = new Set([
  'invalid_request',
  'invalid_json',
  'invalid_event',
  'invalid_revocation',
  'event_too_large',
  'id_reused',
  'unsupported_media_type',
  'api_key_missing',
  'api_key_invalid',
  'scope_missing',
  'publish_forbidden',
  'signature_invalid',
  'signature_replayed',
  'service_token_invalid',
  'method_not_allowed',
])

/** The text about this refusal that may be shown to the caller. */
function toDetail(error: BridgeError): string {
  if (!told.has(error.code)) return error.text
  if (error.cause === undefined) return error.message
  // A message with a cause quotes it, but for that of `parseJson`.
  return error.code === 'invalid_json' ? `${error.text.slice(0, -1)}: ${error.message}.` : error.text
}

function toProblem(error: BridgeError): Problem {
  const { code, text, status, errors } = error
  return { type: `urn:sidecast:error:${code}`, title: text, status, detail: toDetail(error), code, ...(errors.length === 0 ? {} : { errors }) }
}

/** RFC 6750, 3. */
function challenge(code: ErrorCode): string {
  if (code === 'scope_missing' || code === 'publish_forbidden') return 'Bearer realm="sidecast", error="insufficient_scope"'
  // Signatures have no scheme of their own (RFC 9110 11.6.1 asks for one that is taken here).
  return code === 'api_key_missing' || code === 'signature_invalid' ? 'Bearer realm="sidecast"' : 'Bearer realm="sidecast", error="invalid_token"'
}

export function sendProblem(response: ServerResponse, error: BridgeError): void {
  // An answer that has begun cannot become another one; only a cut tells the caller that it is not whole.
  if (response.headersSent) {
    response.destroy()
    return
  }
  const problem = toProblem(error)
  if (problem.status === 401 || problem.status === 403) response.setHeader('WWW-Authenticate', challenge(error.code))
  if (problem.status === 503 || problem.status === 429) response.setHeader('Retry-After', retryAfterSeconds)
  if (problem.status === 408) response.setHeader('Connection', 'close')
  const body = Buffer.from(JSON.stringify(problem))
  response.writeHead(problem.status, { 'Content-Type': 'application/problem+json', 'Content-Length': body.byteLength })
  response.end(body)
}

/** One result among many: the status of a line or an item that was refused. */
export function toRefusedResult(error: BridgeError) {
  return { status: error.status, code: error.code, detail: toDetail(error), errors: error.errors }
}
