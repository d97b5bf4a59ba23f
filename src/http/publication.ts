import type { Publisher } from '../core/access.ts'
import type { Draft } from '../core/draft.ts'
import type { Hub, Published } from '../core/hub.ts'
import type { Observer } from '../core/observer.ts'
import { BridgeError } from '../errors.ts'
import { toRefusedResult } from './problem.ts'

/** One of many events: what is to be stored, or why it cannot be. */
export type Publication = Draft | BridgeError

export type EventResult = ({ readonly status: 202 } & Published) | ReturnType<typeof toRefusedResult>

/**
 * Stores what can be stored with one call of the hub; one result per publication, in order.
 * @throws BridgeError scope_missing, log_unavailable: none was stored
 */
export async function toResults(
  hub: Hub,
  publisher: Publisher,
  observer: Observer,
  publications: readonly Publication[],
): Promise<readonly EventResult[]> {
  const published = (
    await hub.publish(
      publisher,
      publications.filter((publication): publication is Draft => !(publication instanceof BridgeError)),
    )
  ).values()
  return publications.map((publication) => {
    const result = publication instanceof BridgeError ? publication : (published.next().value ?? new BridgeError('internal'))
    if (!(result instanceof BridgeError)) return { status: 202, ...result }
    observer.publishRefused(result.code)
    return toRefusedResult(result)
  })
}
