import type { EventEntry, Stored } from '../core/entry.ts'
import type { Hub } from '../core/hub.ts'
import { roomStream, type Stream, type Target, userStream } from '../core/target.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export function historyRoutes(hub: Hub): readonly Route[] {
  const show = (toStream: (request: IngressRequest) => Stream) => (request: IngressRequest, response: IngressResponse) => {
    const { after, limit } = request.query as { readonly after?: string; readonly limit: number }
    const { events, next } = hub.inquiries.history(response.locals.publisher, toStream(request), after, limit)
    const page = `{"events":[${events.map((stored) => toJson(stored, hub.offsetOf(stored.position))).join(',')}],"next":${JSON.stringify(next)}}`
    response.type('application/json').send(page)
  }
  return [
    { method: 'get', path: '/v1/users/{user}/events', scope: 'read', handle: show(({ params: { user = '' } }) => userStream(user)) },
    { method: 'get', path: '/v1/rooms/{room}/events', scope: 'read', handle: show(({ params: { room = '' } }) => roomStream(room)) },
  ]
}

/** The data is JSON text already and stays as it is: parsing it would cost the digits of large integers. */
function toJson({ time, entry: { id, event, data, to } }: Stored<EventEntry>, offset: string): string {
  const rest = JSON.stringify({ id, event, offset, time, to: toTargetJson(to) })
  return `${rest.slice(0, -1)},"data":${data}}`
}

/** As a publisher writes it: only what is named. */
function toTargetJson({ users, rooms, sessions, all }: Target) {
  return {
    ...(users.length === 0 ? {} : { users }),
    ...(rooms.length === 0 ? {} : { rooms }),
    ...(sessions.length === 0 ? {} : { sessions }),
    ...(all ? { all } : {}),
  }
}
