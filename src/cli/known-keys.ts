import { readFileSync } from 'node:fs'
import type { KeyOrigin } from '../auth/issuer.ts'
import type { Jws } from '../auth/jws.ts'
import type { VerifyKey } from '../auth/keys.ts'
import { RemoteKeys } from '../auth/remote-keys.ts'
import { BridgeError } from '../errors.ts'

/** The keys of one origin as they are now, or why there are none. */
export interface KnownKeys {
  /** Where they come from, for people. */
  readonly from: string
  readonly keys: readonly VerifyKey[]
  readonly failure?: string
}

const once = { refreshMs: 0, retryMs: 0, maxRetryMs: 0, coolDownMs: 0, timeoutMs: 5000 }

export async function loadKeys(origin: KeyOrigin, fetch: typeof globalThis.fetch): Promise<KnownKeys> {
  switch (origin.kind) {
    case 'fixed':
      return { from: 'the configuration', keys: origin.keys }
    case 'file':
      return readKeyFile(origin)
    case 'jwks':
    case 'oidc': {
      const from = origin.kind === 'jwks' ? origin.url : `${origin.issuer} (by discovery)`
      const remote = new RemoteKeys({ origin, ...once, fetch, now: Date.now, onFailure: () => {} })
      await remote.refresh()
      const { keys, failure } = remote
      remote.close()
      return { from, keys, ...(failure === undefined ? {} : { failure }) }
    }
    default:
      return origin satisfies never
  }
}

function readKeyFile({ path, parse }: Extract<KeyOrigin, { readonly kind: 'file' }>): KnownKeys {
  try {
    return { from: path, keys: parse(readFileSync(path, 'utf8')) }
  } catch (error) {
    if (error instanceof BridgeError) return { from: path, keys: [], failure: error.message }
    throw error
  }
}

/** Why each of the keys that have not signed a token says nothing to it, a line a key. */
export function describeTries(jws: Jws, keys: readonly VerifyKey[]): readonly string[] {
  return keys.map((key, index) => {
    const name = `key ${index + 1} of ${keys.length}${key.kid === undefined ? '' : ` (kid ${JSON.stringify(key.kid)})`}`
    if (!key.algorithms.includes(jws.algorithm)) return `${name} is for ${key.algorithms.join(', ')}`
    if (jws.kid !== undefined && key.kid !== undefined && jws.kid !== key.kid) return `${name} is not the one that the token names`
    return `${name} has not signed it`
  })
}

/** One fetch of each address, however often it is asked for: one look at a token is one moment. */
export function rememberingFetch(): typeof globalThis.fetch {
  const answers = new Map<string, Promise<{ readonly status: number; readonly body: string }>>()
  return async (input, init) => {
    const url = String(input instanceof Request ? input.url : input)
    const answer =
      answers.get(url) ?? globalThis.fetch(input, init).then(async (response) => ({ status: response.status, body: await response.text() }))
    answers.set(url, answer)
    const { status, body } = await answer
    return new Response(body, { status })
  }
}
