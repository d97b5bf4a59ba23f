import { BridgeError } from '../errors.ts'

/** Key sets and discovery documents have a few kilobytes. */
const maxBytes = 256 * 1024

export interface FetchedJson {
  readonly text: string
  /** For how long it says that it holds (RFC 9111 5.2.2.1), 0 for one that may not be kept; absent when it does not say. */
  readonly maxAgeMs?: number
}

/**
 * The JSON text at an address that the operator has configured, or that the issuer behind such an address has named. No redirects: whoever can bend one
 * address must not bend it to any other.
 * @throws BridgeError unavailable, with the reason
 */
export async function fetchJson(fetch: typeof globalThis.fetch, url: URL, signal: AbortSignal): Promise<FetchedJson> {
  try {
    const response = await fetch(url, { redirect: 'error', signal, headers: { accept: 'application/json, application/jwk-set+json' } })
    if (response.status !== 200) {
      await response.body?.cancel()
      throw new BridgeError('unavailable', `${url.href} answers with the status ${response.status}`)
    }
    return { text: await readText(response, url), ...maxAgeOf(response.headers.get('cache-control') ?? '') }
  } catch (error) {
    if (error instanceof BridgeError) throw error
    throw new BridgeError('unavailable', `${url.href} cannot be fetched: ${reasonOf(error)}`, { cause: error })
  }
}

function maxAgeOf(directives: string): Pick<FetchedJson, 'maxAgeMs'> {
  const names = directives.split(',').map((directive) => directive.trim().toLowerCase())
  if (names.includes('no-store') || names.includes('no-cache')) return { maxAgeMs: 0 }
  const [, digits] = names.map((name) => /^max-age="?(\d{1,9})"?$/.exec(name)).find((match) => match !== null) ?? []
  return digits === undefined ? {} : { maxAgeMs: Number(digits) * 1000 }
}

/** Counts while it reads: what a length says in advance may be wrong or missing. */
async function readText(response: Response, url: URL): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    // Leaving the loop ends the connection too.
    if (bytes > maxBytes) throw new BridgeError('unavailable', `${url.href} sends more than ${maxBytes} bytes, which is no key set`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

/** The fetch API says only "fetch failed"; what has failed stands in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message || error.cause.name : error.message
}
