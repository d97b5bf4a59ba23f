import type { Check } from '../core/health.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export type Checks = () => readonly Check[]

export interface HealthOptions {
  readonly liveness: Checks
  readonly readiness: Checks
  readonly startup: Checks
}

export function healthRoutes({ liveness, readiness, startup }: HealthOptions): readonly Route[] {
  const show = (checks: Checks) => (request: IngressRequest, response: IngressResponse) => {
    const excluded = [request.query.exclude].flat()
    const all = checks().filter(({ name }) => !excluded.includes(name))
    const failing = all.filter(({ failure }) => failure !== undefined)
    if (failing.length === 0) response.json({ status: 'ok', checks: all.map(({ name }) => name) })
    else response.status(503).set('Retry-After', '2').json({ status: 'failing', failing })
  }
  return [
    { method: 'get', path: '/livez', handle: show(liveness) },
    { method: 'get', path: '/readyz', handle: show(readiness) },
    { method: 'get', path: '/startupz', handle: show(startup) },
  ]
}
