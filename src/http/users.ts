import type { Hub } from '../core/hub.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export function userRoutes(hub: Hub): readonly Route[] {
  const show = ({ params: { user = '' } }: IngressRequest, response: IngressResponse) => {
    const sessions = hub.inquiries.sessionsOfUser(response.locals.publisher, user)
    const online = sessions.length > 0
    response.set('Sidecast-Online', String(online)).json({ user, online, sessions })
  }
  const disconnect = async ({ params: { user = '' } }: IngressRequest, response: IngressResponse) => {
    response.status(202).json({ offset: await hub.disconnect(response.locals.publisher, { user }) })
  }
  return [
    { method: 'get', path: '/v1/users/{user}', scope: 'read', handle: show },
    { method: 'post', path: '/v1/users/{user}/disconnect', scope: 'admin', appends: true, handle: disconnect },
  ]
}
