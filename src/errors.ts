/**
 * Every way in which Sidecast says no, read by all edges.
 * `status`: the HTTP status. `retryable`: the same request may succeed later. `text`: safe to show to anybody.
 */
const CODES = {
  // Refused logins: the client learns the code and the text, the log learns the precise reason.
  token_missing: { status: 401, retryable: false, text: 'A login token is required.' },
  token_malformed: { status: 401, retryable: false, text: 'The login token is not a well-formed JWT.' },
  token_expired: { status: 401, retryable: true, text: 'The login token has expired.' },
  token_not_active: { status: 401, retryable: true, text: 'The login token is not valid yet.' },
  token_signature: { status: 401, retryable: false, text: 'The login token was not signed by a trusted key.' },
  token_issuer: { status: 401, retryable: false, text: 'The login token comes from another issuer.' },
  token_audience: { status: 401, retryable: false, text: 'The login token is meant for another audience.' },
  token_claims: { status: 401, retryable: false, text: 'The login token lacks a claim that is needed here, or has one of the wrong kind.' },
  token_revoked: { status: 401, retryable: false, text: 'The login token has been revoked.' },
  session_limit: { status: 429, retryable: true, text: 'This user has too many open sessions.' },
  rate_limited: { status: 429, retryable: true, text: 'Too many requests.' },
  origin_denied: { status: 403, retryable: false, text: 'This origin is not allowed.' },
  unavailable: { status: 503, retryable: true, text: 'The service is not available at the moment.' },
  draining: { status: 503, retryable: true, text: 'This node is shutting down.' },

  // Sessions that end, and what a session asks for.
  disconnected: { status: 403, retryable: false, text: 'The application has ended this session.' },
  slow_consumer: { status: 503, retryable: true, text: 'Events arrived faster than this connection could take them.' },
  session_replaced: { status: 409, retryable: false, text: 'The session continues on another connection.' },
  invalid_request: { status: 400, retryable: false, text: 'The request is not valid.' },
  room_forbidden: { status: 403, retryable: false, text: 'This room is not open to this session.' },
  room_managed: { status: 403, retryable: false, text: 'The application manages the membership of this room.' },
  room_limit: { status: 429, retryable: false, text: 'This session is in too many rooms.' },

  // The ingresses.
  invalid_json: { status: 400, retryable: false, text: 'The body is not valid JSON.' },
  invalid_event: { status: 422, retryable: false, text: 'The event is not valid.' },
  event_too_large: { status: 413, retryable: false, text: 'The event is too large.' },
  id_reused: { status: 422, retryable: false, text: 'The id was used before for a different event.' },
  invalid_revocation: { status: 422, retryable: false, text: 'The revocation is not valid.' },
  invalid_command: { status: 422, retryable: false, text: 'The command is not valid.' },
  no_target: { status: 422, retryable: false, text: 'The message does not say whom it is for.' },
  unsupported_message: { status: 415, retryable: false, text: 'Messages of this kind are not taken.' },
  unsupported_media_type: { status: 415, retryable: false, text: 'The content type is not supported.' },
  api_key_missing: { status: 401, retryable: false, text: 'An API key is required.' },
  api_key_invalid: { status: 401, retryable: false, text: 'The API key is not known.' },
  scope_missing: { status: 403, retryable: false, text: 'The API key does not have the scope that this needs.' },
  publish_forbidden: { status: 403, retryable: false, text: 'The credential does not reach that far.' },
  signature_invalid: { status: 401, retryable: false, text: 'The signature of the request is not good.' },
  signature_replayed: { status: 409, retryable: false, text: 'This signed request has come before.' },
  service_token_invalid: { status: 401, retryable: false, text: 'The service token is not good.' },
  not_found: { status: 404, retryable: false, text: 'There is nothing at this address.' },
  method_not_allowed: { status: 405, retryable: false, text: 'The method is not allowed here.' },
  request_timeout: { status: 408, retryable: true, text: 'The request took too long to arrive.' },
  gap: { status: 410, retryable: false, text: 'What was asked for is older than what is kept.' },
  log_unavailable: { status: 503, retryable: true, text: 'Events cannot be stored at the moment.' },
  overloaded: { status: 503, retryable: true, text: 'Too much waits for slow clients at the moment.' },
  internal: { status: 500, retryable: true, text: 'Something went wrong on our side.' },

  // Start-up: these end the process with a message that names the cure.
  invalid_config: { status: 500, retryable: false, text: 'The configuration is not valid.' },
  log_in_use: { status: 500, retryable: false, text: 'The data folder is in use by another process.' },
  log_damaged: { status: 500, retryable: false, text: 'The event log is damaged.' },
  log_foreign: { status: 500, retryable: false, text: 'The data folder holds something that is not an event log of this version.' },
  log_read_only: { status: 500, retryable: false, text: 'The data folder cannot be written to.' },
  listen_failed: { status: 500, retryable: false, text: 'A listener could not be opened.' },
} as const

export type ErrorCode = keyof typeof CODES

/** How long to wait before another try, where HTTP has a place for it and the code says that one may help. */
export const retryAfterSeconds = 2

/** One thing that is wrong with a body: where (RFC 6901 JSON pointer, '' is the whole) and what. */
export interface FieldError {
  readonly pointer: string
  readonly detail: string
}

/** The only error that Sidecast throws on purpose. `message` is for operators; clients get `text`. */
export class BridgeError extends Error {
  readonly code: ErrorCode
  readonly errors: readonly FieldError[]
  /** Whether it is held against the caller although it may be our side that is behind: anybody can bring it about. */
  readonly suspect: boolean

  constructor(
    code: ErrorCode,
    detail?: string,
    options: { readonly errors?: readonly FieldError[]; readonly cause?: unknown; readonly suspect?: boolean } = {},
  ) {
    super(detail ?? CODES[code].text, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'BridgeError'
    this.code = code
    this.errors = options.errors ?? []
    this.suspect = options.suspect === true
  }

  get status(): number {
    return CODES[this.code].status
  }

  get retryable(): boolean {
    return CODES[this.code].retryable
  }

  /** Ours and fixed: never the text of a library, never what an attacker sent. */
  get text(): string {
    return CODES[this.code].text
  }
}

/** What anything thrown means to a caller: a BridgeError stays itself, all else is `internal` with the cause kept. */
export function toBridgeError(thrown: unknown): BridgeError {
  return thrown instanceof BridgeError ? thrown : new BridgeError('internal', undefined, { cause: thrown })
}
