import type { Hub } from '../core/hub.ts'
import type { RevocationParser } from '../core/revocation-request.ts'
import { BridgeError } from '../errors.ts'
import type { IngressRequest, IngressResponse, Route } from './route.ts'

/** A few names and times. */
const maxBodyBytes = 16 * 1024

export function revocationRoutes(hub: Hub, parseRevocation: RevocationParser): readonly Route[] {
  const revoke = async ({ body }: IngressRequest, response: IngressResponse) => {
    response.status(202).json(await hub.revoke(response.locals.publisher, parseRevocation(body)))
  }
  const list = ({ query }: IngressRequest, response: IngressResponse) => {
    const { after, limit } = query as { readonly after?: string; readonly limit: number }
    const { revocations, more } = hub.inquiries.revocations(response.locals.publisher, toPosition(after), limit)
    const last = revocations.at(-1)
    response.json({
      revocations: revocations.map(({ time, entry }) => ({ ...entry.revocation, revokedAt: time })),
      next: more && last !== undefined ? String(last.position) : null,
    })
  }
  const lift = async ({ params: { revocation = '' } }: IngressRequest, response: IngressResponse) => {
    response.status(202).json({ offset: await hub.liftRevocation(response.locals.publisher, revocation) })
  }
  return [
    {
      method: 'post',
      path: '/v1/revocations',
      scope: 'admin',
      appends: true,
      maxBodyBytes,
      isPlain: ({ url }) => !url.includes('?'),
      handle: revoke,
    },
    { method: 'get', path: '/v1/revocations', scope: 'admin', handle: list },
    { method: 'delete', path: '/v1/revocations/{revocation}', scope: 'admin', appends: true, handle: lift },
  ]
}

/** A place in the list, which outlives the offsets: revocations are older than the retention. @throws BridgeError invalid_request */
function toPosition(after: string | undefined): number {
  if (after === undefined) return 0
  if (/^\d{1,15}$/.test(after)) return Number(after)
  const detail = 'must be the next of a page of this list'
  throw new BridgeError('invalid_request', `/query/after ${detail}`, { errors: [{ pointer: '/query/after', detail }] })
}
