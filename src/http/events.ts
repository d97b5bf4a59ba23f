import type { DraftParser } from '../core/draft.ts'
import type { Hub } from '../core/hub.ts'
import type { Observer } from '../core/observer.ts'
import { BridgeError, toBridgeError } from '../errors.ts'
import { mediaTypeOf } from './body.ts'
import { answerLines, type NdjsonOptions } from './ndjson.ts'
import { type Publication, toResults } from './publication.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

export interface EventRoutesOptions extends NdjsonOptions {
  readonly hub: Hub
  readonly parseDraft: DraftParser
  readonly observer: Observer
  readonly maxEventBytes: number
  readonly maxBatchBytes: number
}

export function eventRoutes(options: EventRoutesOptions): readonly Route[] {
  const { hub, parseDraft, observer, maxEventBytes, maxBatchBytes } = options

  const publishOne = async (request: IngressRequest, response: IngressResponse) => {
    const { publisher, signed } = response.locals
    const key = request.get('idempotency-key')
    if (signed !== undefined && key !== undefined) throw refuseKey('is not covered by the signature; the webhook-id takes its place')
    const draft = parseDraft(signed === undefined ? withId(request.body, key) : withOwnId(request.body, signed.id))
    if (request.query.dry_run === true) {
      response.status(200).json(hub.inquiries.preview(publisher, draft))
      return
    }
    const [published] = await hub.publish(publisher, [draft])
    if (published === undefined || published instanceof BridgeError) throw published ?? new BridgeError('internal')
    response.status(202).json(published)
  }

  const publishMany = async (request: IngressRequest, response: IngressResponse) => {
    if (request.get('idempotency-key') !== undefined) throw refuseKey('is for a single event; give each event of a batch an id')
    if (mediaTypeOf(request) === 'application/x-ndjson') return answerLines(request, response, options)
    // openapi.yaml has made sure of the array, and of nothing in it.
    const { events } = request.body as { readonly events: readonly unknown[] }
    const { signed } = response.locals
    const publications = events.map((event, index): Publication => {
      try {
        return parseDraft(signed === undefined ? event : withOwnId(event, `${signed.id}:${index}`))
      } catch (error) {
        return toBridgeError(error)
      }
    })
    response.status(202).json({ results: await toResults(hub, response.locals.publisher, observer, publications) })
  }

  return [
    { method: 'post', path: '/v1/events', scope: 'publish', appends: true, maxBodyBytes: maxEventBytes, isPlain, handle: publishOne },
    { method: 'post', path: '/v1/events/batch', scope: 'publish', appends: true, maxBodyBytes: maxBatchBytes, handle: publishMany },
  ]
}

/** JSON that was read, and no parameter. */
function isPlain({ url, headers, body }: IngressRequest): boolean {
  return body !== undefined && headers['idempotency-key'] === undefined && !url.includes('?')
}

function refuseKey(detail: string): BridgeError {
  return new BridgeError('invalid_request', `Idempotency-Key ${detail}`, { errors: [{ pointer: '/headers/idempotency-key', detail }] })
}

/** The event with this id unless it has one: all attempts to send a signed request have the same, so that the log knows the second one again. */
function withOwnId(event: unknown, id: string): unknown {
  if (typeof event !== 'object' || event === null || Array.isArray(event) || 'id' in event) return event
  return { ...event, id }
}

/** The body with the id from the header. @throws BridgeError invalid_event when there are two different ones */
function withId(body: unknown, key: string | undefined): unknown {
  if (key === undefined || typeof body !== 'object' || body === null || Array.isArray(body)) return body
  if ('id' in body && body.id !== key) {
    const detail = 'differs from the header Idempotency-Key'
    throw new BridgeError('invalid_event', `/id ${detail}`, { errors: [{ pointer: '/id', detail }] })
  }
  return { ...body, id: key }
}
