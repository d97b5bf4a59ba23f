import type { Config } from '../../config/config.ts'
import { loadKeys } from '../known-keys.ts'
import { type Finding, ok, problem, reasonOf } from './finding.ts'
import { checkClock } from './machine.ts'

const timeoutMs = 5000

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

/** Whether somebody answers where the application is asked. Nothing is asked. */
export async function checkBackend({ connectUrl, roomsUrl, introspection }: NonNullable<Config['backend']>): Promise<readonly Finding[]> {
  const urls = [connectUrl, roomsUrl, introspection?.url].filter((url) => url !== undefined)
  return Promise.all(
    urls.map(async (url) => {
      try {
        const { status } = await fetch(url, { method: 'OPTIONS', redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
        return ok(`${url} is there (status ${status} to OPTIONS)`)
      } catch (error) {
        return problem(
          `${url}: ${reasonOf(error)}`,
          'start the application, or correct the address: every login or join that has to be asked about is refused',
        )
      }
    }),
  )
}
