import type { IncomingMessage } from 'node:http'
import type { NextFunction } from 'express'
import type { IngressRequest, IngressResponse } from './route.ts'

/** One request that is over. */
export interface ServedRequest {
  readonly method: string
  /** The path as openapi.yaml has it; `unknown` when it has none. */
  readonly route: string
  /** `aborted` when the client left before the answer was whole. */
  readonly status: string
  readonly seconds: number
  /** The name of the key that it came with; absent when it had none that is known. */
  readonly credential?: string
}

/** Tells of each request when it is over, and lets go of clients that go on sending after their answer. */
export function createObservation(requestServed: (served: ServedRequest) => void, lingerMs: number) {
  return (request: IngressRequest, response: IngressResponse, next: NextFunction): void => {
    const start = performance.now()
    response.once('close', () => {
      const { credential } = response.locals
      requestServed({
        ...(credential === undefined ? {} : { credential }),
        method: request.method,
        route: response.locals.route ?? 'unknown',
        status: response.writableFinished ? String(response.statusCode) : 'aborted',
        seconds: (performance.now() - start) / 1000,
      })
      if (!request.complete) linger(request, lingerMs)
    })
    next()
  }
}

/** An early answer (413, 401) is lost in a reset when the connection closes on a client that is still sending: what it sends is thrown away for a while. */
function linger(request: IncomingMessage, lingerMs: number): void {
  if (request.destroyed) return
  const timer = setTimeout(() => request.destroy(), lingerMs)
  timer.unref()
  request.once('close', () => clearTimeout(timer)).resume()
}
