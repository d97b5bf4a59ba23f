import { type Addressing, fieldNames, readAddressing, refuseUnknown } from './addressing.ts'
import { deadLetterHeaders } from './dead-letters.ts'
import type { Headers } from './headers.ts'

const prefix = 'sidecast-'
const known = ['sidecast-command', ...fieldNames.map((name) => `${prefix}${name}`)]

// A dead letter that was put back by other means than ours still carries what we added.
const ours: readonly string[] = Object.values(deadLetterHeaders)

/** The `sidecast-*` headers, or undefined when there are none. @throws BridgeError invalid_event */
export function readHeaderForm(headers: Headers): Addressing | undefined {
  const found = [...headers.keys()].filter((name) => name.startsWith(prefix) && !ours.includes(name))
  if (found.length === 0) return undefined
  refuseUnknown(found, known, prefix)
  return readAddressing((field) => {
    const name = `${prefix}${field}`
    return headers.has(name) ? { name, value: headers.get(name) } : undefined
  })
}
