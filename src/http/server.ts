import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Express } from 'express'

export interface ServerTimeouts {
  /** For the headers of a request. Node looks every 30 seconds. */
  readonly headersMs?: number
  /** For a connection on which no byte moves. */
  readonly idleMs?: number
  /** For a connection between two requests; longer than what pools of clients keep, so that they close first. */
  readonly keepAliveMs?: number
}

/** How long the server of the ingress waits. To be called before it listens. */
export function setTimeouts(server: Server, { headersMs = 10_000, idleMs = 60_000, keepAliveMs = 65_000 }: ServerTimeouts = {}): void {
  server.headersTimeout = headersMs
  // Node's limit for a whole request would cut long NDJSON streams. Bodies have limits of their own: in total when they are read at once, idle when streamed.
  server.requestTimeout = 0
  server.timeout = idleMs
  server.keepAliveTimeout = keepAliveMs
}

/** A client that does not wait for answers (HTTP/1.1 allows it) has so many calls under way on one connection; one more ends it. */
const maxUnanswered = 1000

/** Node begins each call that it reads, and stops reading only for answers that are not taken: each one under way would hold memory, without limit. */
export function limitUnanswered(server: Server): void {
  const unanswered = new WeakMap<Socket, number>()
  server.prependListener('request', ({ socket }, response) => {
    const count = (unanswered.get(socket) ?? 0) + 1
    unanswered.set(socket, count)
    response.once('close', () => unanswered.set(socket, (unanswered.get(socket) ?? 1) - 1))
    if (count > maxUnanswered) socket.destroy()
  })
}

/**
 * A server whose requests and answers have the prototypes of the application from the start. Express gives them to each one otherwise, and the engine then
 * forgets all that it knew of its shape, which costs more than to find the route.
 */
export function createAppServer(app: Express): Server {
  class AppRequest extends IncomingMessage {}
  class AppResponse extends ServerResponse {}
  Object.setPrototypeOf(AppRequest.prototype, app.request)
  Object.setPrototypeOf(AppResponse.prototype, app.response)
  Object.assign(app, { request: AppRequest.prototype, response: AppResponse.prototype })
  return createServer({ IncomingMessage: AppRequest, ServerResponse: AppResponse }, app)
}
