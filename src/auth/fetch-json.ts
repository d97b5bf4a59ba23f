import { BridgeError } from '../errors.ts'

/** Key sets and discovery documents have a few kilobytes. */
const maxBytes = 256 * 1024

/**
 * The JSON text at an address that the operator has configured, or that the issuer behind such an address has named. No redirects: whoever can bend one
 * address must not bend it to any other.
 * @throws BridgeError unavailable, with the reason
 */
export async function fetchJson(fetch: typeof globalThis.fetch, url: URL, signal: AbortSignal): Promise<string> {
  try {
    const response = await fetch(url, { redirect: 'error', signal, headers: { accept: 'application/json, application/jwk-set+json' } })
    if (response.status !== 200) {
      await response.body?.cancel()
      throw new BridgeError('unavailable', `${url.href} answers with the status ${response.status}`)
    }
    return await readText(response, url)
  } catch (error) {
    if (error instanceof BridgeError) throw error
    throw new BridgeError('unavailable', `${url.href} cannot be fetched: ${reasonOf(error)}`, { cause: error })
  }
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
