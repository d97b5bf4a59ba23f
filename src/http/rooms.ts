import type { Hub } from '../core/hub.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export function roomRoutes(hub: Hub): readonly Route[] {
  const show = ({ params: { room = '' } }: IngressRequest, response: IngressResponse) => {
    response.json({ room, ...hub.inquiries.usersInRoom(response.locals.publisher, room) })
  }
  const setMember = (present: boolean) => async (request: IngressRequest, response: IngressResponse) => {
    const { room = '', user = '' } = request.params
    response.status(202).json({ offset: await hub.setMembership(response.locals.publisher, user, room, present) })
  }
  return [
    { method: 'get', path: '/v1/rooms/{room}', scope: 'read', handle: show },
    { method: 'put', path: '/v1/rooms/{room}/users/{user}', scope: 'publish', appends: true, handle: setMember(true) },
    { method: 'delete', path: '/v1/rooms/{room}/users/{user}', scope: 'publish', appends: true, handle: setMember(false) },
  ]
}
