import { createHmac, randomBytes } from 'node:crypto'

/** What a publisher that signs adds to a request, in the form of Standard Webhooks. */
export function signRequest(
  secrets: Uint8Array | readonly Uint8Array[],
  body: string,
  {
    id = randomBytes(12).toString('base64url'),
    timestamp = Math.floor(Date.now() / 1000),
  }: { readonly id?: string; readonly timestamp?: number | string } = {},
): Readonly<Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string>> {
  const signatures = [secrets].flat().map((secret) => `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`)
  return { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signatures.join(' ') }
}
