import { type Addressing, fieldNames, readAddressing, refuseUnknown } from './addressing.ts'
import type { Headers } from './headers.ts'

const prefix = 'sidecast-'
const known = ['sidecast-command', ...fieldNames.map((name) => `${prefix}${name}`)]

// What the dead-letter queue adds; a message that is put back by hand may still carry it.
const ours = 'sidecast-error'

/** The `sidecast-*` headers, or undefined when there are none. @throws BridgeError invalid_event */
export function readHeaderForm(headers: Headers): Addressing | undefined {
  const found = [...headers.keys()].filter((name) => name.startsWith(prefix) && !name.startsWith(ours))
  if (found.length === 0) return undefined
  refuseUnknown(found, known, prefix)
  return readAddressing((field) => {
    const name = `${prefix}${field}`
    return headers.has(name) ? { name, value: headers.get(name) } : undefined
  })
}
