import type { Config } from '../../config/config.ts'
import { loadKeys } from '../known-keys.ts'
import { type Finding, ok, problem } from './finding.ts'
import { checkClock } from './machine.ts'

/** The keys of each issuer of logins, and the clock of those that publish theirs. */
export async function checkKeys({ issuers, clockToleranceMs }: Config['jwt']): Promise<readonly (readonly [title: string, finding: Finding])[]> {
  const clocks: (readonly [string, Finding])[] = []
  const watching: typeof globalThis.fetch = async (input, init) => {
    const sent = Date.now()
    const response = await fetch(input, init)
    const { origin } = new URL(String(input instanceof Request ? input.url : input))
    if (!clocks.some(([, { detail }]) => detail.includes(origin)))
      clocks.push(['clock', checkClock(origin, response.headers.get('date'), { sent, received: Date.now() }, clockToleranceMs)])
    return response
  }
  const found: (readonly [string, Finding])[] = []
  for (const { name, keys } of issuers) {
    for (const origin of keys) {
      const { from, keys: known, failure } = await loadKeys(origin, watching)
      found.push([
        'keys',
        failure === undefined
          ? ok(`${name}: ${known.length} from ${from}`)
          : problem(
              `${name}: ${failure}`,
              'open the address, or read the file, from the machine of the bridge as its user: is it right, reachable, trusted (NODE_EXTRA_CA_CERTS)?',
            ),
      ])
    }
  }
  return [...found, ...clocks]
}
