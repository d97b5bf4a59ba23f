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
    const { publisher } = response.locals
    const draft = parseDraft(withId(request.body, request.get('idempotency-key')))
    if (request.query.dry_run === true) {
      response.status(200).json(hub.preview(publisher, draft))
      return
    }
    const [published] = await hub.publish(publisher, [draft])
    if (published === undefined || published instanceof BridgeError) throw published ?? new BridgeError('internal')
    response.status(202).json(published)
  }

  const publishMany = async (request: IngressRequest, response: IngressResponse) => {
    if (request.get('idempotency-key') !== undefined) {
      const detail = 'is for a single event; give each event of a batch an id'
      throw new BridgeError('invalid_request', `Idempotency-Key ${detail}`, { errors: [{ pointer: '/headers/idempotency-key', detail }] })
    }
    if (mediaTypeOf(request) === 'application/x-ndjson') return answerLines(request, response, options)
    // openapi.yaml has made sure of the array, and of nothing in it.
    const { events } = request.body as { readonly events: readonly unknown[] }
    const publications = events.map((event): Publication => {
      try {
        return parseDraft(event)
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

/** The body with the id from the header. @throws BridgeError invalid_event when there are two different ones */
function withId(body: unknown, key: string | undefined): unknown {
  if (key === undefined || typeof body !== 'object' || body === null || Array.isArray(body)) return body
  if ('id' in body && body.id !== key) {
    const detail = 'differs from the header Idempotency-Key'
    throw new BridgeError('invalid_event', `/id ${detail}`, { errors: [{ pointer: '/id', detail }] })
  }
  return { ...body, id: key }
}
