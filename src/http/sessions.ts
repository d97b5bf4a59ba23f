import type { Hub } from '../core/hub.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export function sessionRoutes(hub: Hub): readonly Route[] {
  const end = async ({ params: { session = '' } }: IngressRequest, response: IngressResponse) => {
    response.status(202).json({ offset: await hub.disconnect(response.locals.publisher, { session }) })
  }
  return [{ method: 'delete', path: '/v1/sessions/{session}', scope: 'admin', appends: true, handle: end }]
}
