import type { NextFunction, Request, Response } from 'express'
import type { Publisher, Scope } from '../core/access.ts'
import type { SignedRequest } from './credentials/signed-request.ts'

/** What the steps before the handler have found out. */
interface Locals extends Record<string, unknown> {
  publisher: Publisher
  /** For the metrics: the name of the key, not what it is. */
  credential?: string
  /** Set when the request is signed; the publisher is known once its body is read. */
  signed?: SignedRequest
  /** The path of openapi.yaml that matched. */
  route?: string
}

/** A request that was checked against openapi.yaml: parameters and query are what it says. */
export type IngressRequest = Request<Record<string, string>, unknown, unknown, Record<string, unknown>, Locals>
export type IngressResponse = Response<unknown, Locals>

export type Step = (request: IngressRequest, response: IngressResponse, next: NextFunction) => void

/** One operation of openapi.yaml. */
export interface Route {
  readonly method: 'get' | 'post' | 'put' | 'delete'
  /** As openapi.yaml spells it. */
  readonly path: string
  /** Asked for before a body is read; the hub has the last word. Absent: open to anybody. */
  readonly scope?: Scope
  /** Refused while the node is draining. */
  readonly appends?: boolean
  /** The largest JSON body. Absent: the route has no body. */
  readonly maxBodyBytes?: number
  /** Whether the request uses no parameter, so that nothing is left to be checked against openapi.yaml: the check costs more than all else in Express. */
  isPlain?(request: IngressRequest): boolean
  handle(request: IngressRequest, response: IngressResponse): void | Promise<void>
}

/** `/v1/users/{user}` as Express spells it. */
export function toExpressPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1')
}
