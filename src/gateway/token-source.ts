import type { IncomingMessage } from 'node:http'
import type { Socket } from 'socket.io'

type Handshake = Socket['handshake']

/** Where a login token may stand in a handshake. */
export type TokenSource =
  | { readonly kind: 'auth' }
  | { readonly kind: 'header' }
  | { readonly kind: 'cookie'; readonly name: string }
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
        return text(auth.token)
      case 'header':
        return bearer(headers.authorization)
      case 'cookie':
        // A cookie is sent by the browser whoever made the page: only a page of an allowed origin may use it. `allowRequest` has checked an Origin that is
        // there; without one only the browser's own word that the page is ours counts.
        return headers.origin !== undefined || headers['sec-fetch-site'] === 'same-origin' ? cookie(headers.cookie, source.name) : undefined
      case 'query':
        return text(query[source.name])
      default:
        return source satisfies never
    }
  }
}

/** Removes what could be a token from what stays in memory as long as the session: the handshake, and the first request that Engine.IO keeps. */
export function forgetToken({ handshake, request }: Pick<Socket, 'handshake' | 'request'>): void {
  handshake.auth = {}
  handshake.query = {}
  handshake.url = ''
  forgetRequest(request)
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

function cookie(header: string | undefined, name: string): string | undefined {
  for (const pair of (header ?? '').split(';')) {
    const equals = pair.indexOf('=')
    if (pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim()
  }
  return undefined
}
