import express, { type Express, type NextFunction } from 'express'
import helmet from 'helmet'
import type { DraftParser } from '../core/draft.ts'
import type { Hub } from '../core/hub.ts'
import type { Observer } from '../core/observer.ts'
import { createRevocationParser } from '../core/revocation-request.ts'
import { BridgeError, toBridgeError } from '../errors.ts'
import { checkAddress } from './address.ts'
import { createAdmission } from './admission.ts'
import { Authenticator, type AuthenticatorOptions } from './credentials/authenticator.ts'
import { docsRoutes } from './docs.ts'
import { eventRoutes } from './events.ts'
import { type Checks, healthRoutes } from './health.ts'
import { historyRoutes } from './history.ts'
import { createObservation, type ServedRequest } from './observation.ts'
import type { OpenapiDocument } from './openapi-document.ts'
import { sendProblem } from './problem.ts'
import { revocationRoutes } from './revocations.ts'
import { roomRoutes } from './rooms.ts'
import { type IngressRequest, type IngressResponse, type Route, type Step, toExpressPath } from './route.ts'
import { sessionRoutes } from './sessions.ts'
import { userRoutes } from './users.ts'
import { createRequestValidator, toValidationError } from './validation.ts'

export { createAppServer, limitUnanswered, setTimeouts } from './server.ts'

export interface HttpIngressOptions extends AuthenticatorOptions {
  readonly hub: Hub
  /** Made from the same openapi.yaml. */
  readonly parseDraft: DraftParser
  /** openapi.yaml, parsed: our own file, which the tests hold to the schema of OpenAPI 3.1. */
  readonly openapi: object
  /** As it is served. */
  readonly openapiText: string
  readonly maxEventBytes: number
  readonly maxBatchBytes: number
  readonly metrics: {
    readonly contentType: string
    render(): Promise<string>
    requestServed(served: ServedRequest): void
  }
  /** Whether the metrics need a key with the scope `read`. */
  readonly metricsKey: boolean
  /** Absent: the process answers, so it lives. */
  readonly liveness?: Checks
  readonly readiness: Checks
  readonly startup: Checks
  readonly draining: () => boolean
  readonly observer: Observer
  /** What should not happen and did; its caller got a 500. */
  readonly onFailure: (error: unknown) => void
  /** For a body that is read at once, from the first to the last byte. */
  readonly bodyTimeoutMs?: number
  /** For a streamed body in which nothing moves. */
  readonly streamIdleMs?: number
  /** How long what a client sends after its answer is still taken. */
  readonly lingerMs?: number
}

/** The private listener: how backends publish, read and administer. A login token of a browser opens nothing here. */
export function createHttpIngress(options: HttpIngressOptions): Express {
  const { bodyTimeoutMs = 30_000, streamIdleMs = 30_000, lingerMs = 2_000, liveness = () => [] } = options
  const openapi = options.openapi as OpenapiDocument
  const steps = createAdmission({ authenticator: new Authenticator(options), openapi, draining: options.draining, bodyTimeoutMs })
  const validate = createRequestValidator(openapi)
  const app = express()
  app.disable('x-powered-by').disable('etag').enable('strict routing').enable('case sensitive routing')
  app.use(createObservation(options.metrics.requestServed, lingerMs))
  app.use(helmet({ contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } } }))
  app.use(checkAddress)

  const routes: readonly Route[] = [
    ...eventRoutes({ ...options, idleMs: streamIdleMs, lingerMs }),
    ...userRoutes(options.hub),
    ...roomRoutes(options.hub),
    ...sessionRoutes(options.hub),
    ...revocationRoutes(options.hub, createRevocationParser(openapi)),
    ...historyRoutes(options.hub),
    ...healthRoutes({ ...options, liveness }),
    metricsRoute(options),
    ...docsRoutes(openapi, options.openapiText),
  ]
  for (const [path, own] of Map.groupBy(routes, (route) => route.path)) {
    const at = app.route(toExpressPath(path))
    for (const route of own) {
      const check: Step = (request, response, next) => {
        if (!path.startsWith('/v1/') || route.isPlain?.(request)) next()
        else validate(request, response, next)
      }
      at[route.method](steps.admit(route), steps.readBody(route), check, (request, response) => route.handle(request, response))
    }
    at.all(refuseMethod(own))
  }
  app.use(() => {
    throw new BridgeError('not_found')
  })
  app.use((thrown: unknown, _request: IngressRequest, response: IngressResponse, _next: NextFunction) => {
    const error = toValidationError(thrown, openapi) ?? toBridgeError(thrown)
    if (error.code === 'internal') options.onFailure(thrown)
    if (response.locals.route?.startsWith('/v1/events')) options.observer.publishRefused(error.code)
    sendProblem(response, error)
  })
  return app
}

function metricsRoute({ metrics, metricsKey }: HttpIngressOptions): Route {
  return {
    method: 'get',
    path: '/metrics',
    ...(metricsKey ? { scope: 'read' } : {}),
    handle: async (_request, response) => void response.set('Content-Type', metrics.contentType).send(await metrics.render()),
  }
}

function refuseMethod(routes: readonly Route[]) {
  const allow = routes.flatMap(({ method }) => (method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()])).join(', ')
  return (_request: IngressRequest, response: IngressResponse) => {
    response.set('Allow', allow)
    throw new BridgeError('method_not_allowed', `Allowed here: ${allow}.`)
  }
}
