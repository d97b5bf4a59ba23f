import { BridgeError } from '../errors.ts'
import type { Addressing } from './addressing.ts'
import { intact } from './headers.ts'

/**
 * `user.<id>.<event…>`, `room.<name>.<event…>`, `all.<event…>`; anything else is undefined. A dot inside an id is `%2E`, as in a URL a per cent sign is
 * `%25`, and any other character may be escaped too.
 * @throws BridgeError invalid_event
 */
export function parseRoutingKey(key: string): Addressing | undefined {
  const [kind, ...segments] = key.split('.')
  if (kind === 'all') return { to: { all: true }, ...toEvent(key, segments) }
  const [name, ...rest] = segments
  if (name === undefined || (kind !== 'user' && kind !== 'room')) return undefined
  return { to: { [kind === 'user' ? 'users' : 'rooms']: [decode(key, name)] }, ...toEvent(key, rest) }
}

function toEvent(key: string, segments: readonly string[]) {
  const event = decode(key, segments.join('.'))
  return event === '' ? {} : { event }
}

function decode(key: string, text: string): string {
  intact('the routing key', text)
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new BridgeError('invalid_event', `the routing key ${JSON.stringify(key)} has a broken escape; a per cent sign is %25`, { cause })
  }
}
