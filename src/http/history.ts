import type { EventEntry, Stored } from '../core/entry.ts'
import type { Hub } from '../core/hub.ts'
import { formatOffset, parseOffset } from '../core/offset.ts'
import { roomStream, type Stream, type Target, userStream } from '../core/target.ts'
import { BridgeError } from '../errors.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export interface HistoryOptions {
  readonly hub: Hub
  /** The incarnation of the log that the offsets belong to. */
  readonly epoch: string
}

export function historyRoutes({ hub, epoch }: HistoryOptions): readonly Route[] {
  const show = (toStream: (request: IngressRequest) => Stream) => (request: IngressRequest, response: IngressResponse) => {
    const { after, limit } = request.query as { readonly after?: string; readonly limit: number }
    const position = after === undefined ? undefined : parseOffset(epoch, after)
    // An offset of another log: what came after it is not here.
    if (after !== undefined && position === undefined) throw new BridgeError('gap')
    const { events, upTo } = hub.history(response.locals.publisher, toStream(request), position, limit)
    const page = `{"events":[${events.map((stored) => toJson(epoch, stored)).join(',')}],"next":${JSON.stringify(formatOffset(epoch, upTo))}}`
    response.type('application/json').send(page)
  }
  return [
    { method: 'get', path: '/v1/users/{user}/events', scope: 'read', handle: show(({ params: { user = '' } }) => userStream(user)) },
    { method: 'get', path: '/v1/rooms/{room}/events', scope: 'read', handle: show(({ params: { room = '' } }) => roomStream(room)) },
  ]
}

/** The data is JSON text already and stays as it is: parsing it would cost the digits of large integers. */
function toJson(epoch: string, { position, time, entry: { id, event, data, to } }: Stored<EventEntry>): string {
  const rest = JSON.stringify({ id, event, offset: formatOffset(epoch, position), time, to: toTargetJson(to) })
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
