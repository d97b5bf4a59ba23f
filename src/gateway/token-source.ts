import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Socket } from 'socket.io'
import type { Forwarded } from '../core/session.ts'

type Handshake = Socket['handshake']

/** Where a login token may stand in a handshake. */
export type TokenSource =
  | { readonly kind: 'auth' }
  | { readonly kind: 'header' }
  /** Several names: the token is split over them, in this order, and joined with a dot. */
  | { readonly kind: 'cookie'; readonly names: readonly string[] }
  | { readonly kind: 'query'; readonly name: string }

/** The first token that the sources, in their order, find; undefined when there is none. */
export function readToken(
  { auth, headers, query }: Pick<Handshake, 'auth' | 'headers' | 'query'>,
  sources: readonly TokenSource[],
): string | undefined {
  for (const source of sources) {
    const token = readFrom(source)
    if (token !== undefined && token !== '') return token
  }
  return undefined

  function readFrom(source: TokenSource): string | undefined {
    switch (source.kind) {
      case 'auth':
        // Laravel Echo puts the header of its HTTP calls there.
        return text(auth.token) ?? bearer(text(field(auth.headers, 'Authorization')))
      case 'header':
        return bearer(headers.authorization)
      case 'cookie':
        return isOwnPage(headers) ? cookies(headers.cookie, source.names) : undefined
      case 'query':
        return text(query[source.name])
      default:
        return source satisfies never
    }
  }
}

/**
 * The headers of these names (lower case), for the application that is asked about this login. Cookies only as in `readToken`: it would take them for the
 * word of the user.
 */
export function readForwarded(headers: IncomingHttpHeaders, names: readonly string[]): Forwarded {
  const forwarded: Record<string, string> = {}
  for (const name of names) {
    const value = name === 'cookie' && !isOwnPage(headers) ? undefined : headers[name]
    if (value !== undefined) forwarded[name] = [value].flat().join(', ')
  }
  return forwarded
}

/**
 * A cookie is sent by the browser whoever made the page: only a page of an allowed origin may use it. `allowRequest` has checked an Origin that is there;
 * without one (a page of our own origin that polls) only the browser's own word that the page is ours counts, which no script can set.
 */
function isOwnPage(headers: IncomingHttpHeaders): boolean {
  return headers.origin !== undefined || headers['sec-fetch-site'] === 'same-origin'
}

/** Removes what could be a token from what stays in memory as long as the session: the handshake, and the first request that Engine.IO keeps. */
export function forgetToken({ handshake, request }: Pick<Socket, 'handshake' | 'request'>): void {
  handshake.auth = {}
  handshake.query = {}
  handshake.url = ''
  forgetRequest(request)
}

/** The same for all sessions that have begun: what each was told of its own is memory that nobody looks at. */
const noHandshake: Handshake = Object.freeze({
  headers: {},
  query: {},
  auth: {},
  url: '',
  time: '',
  address: '',
  issued: 0,
  secure: false,
  xdomain: false,
})

/**
 * Removes the rest when the session has begun: a request of Node and its headers are kilobytes, which Socket.IO and Engine.IO (6.6) would keep as long as the
 * session and have no more use for.
 */
export function forgetHandshake(socket: Pick<Socket, 'handshake' | 'conn' | 'data'>): void {
  socket.data = undefined
  Object.assign(socket, { handshake: noHandshake })
  Object.assign(socket.conn, { request: undefined })
}

/** The same for one request; of use when it has been answered. */
export function forgetRequest(request: IncomingMessage): void {
  delete request.headers.authorization
  delete request.headers.cookie
  // The query as Engine.IO (6.6) has parsed it, and the headers as they came.
  Object.assign(request, { url: '', rawHeaders: [], _query: {} })
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function bearer(header: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header ?? '')?.[1]
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? Reflect.get(value, name) : undefined
}

/** The values of these cookies, joined with a dot; undefined unless all are there and say something. */
function cookies(header: string | undefined, names: readonly string[]): string | undefined {
  const found = new Map<string, string>()
  for (const pair of (header ?? '').split(';')) {
    const equals = pair.indexOf('=')
    const name = pair.slice(0, equals).trim()
    // Browsers send the one with the longest path first.
    if (equals > 0 && !found.has(name)) found.set(name, pair.slice(equals + 1).trim())
  }
  const parts = names.map((name) => found.get(name) ?? '').filter((part) => part !== '')
  return parts.length === names.length ? parts.join('.') : undefined
}
