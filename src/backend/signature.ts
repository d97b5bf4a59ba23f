import { createHmac } from 'node:crypto'

export interface SignatureOptions {
  readonly secret: Uint8Array
  readonly newId: () => string
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** The headers by which the application knows that a call comes from here, was not changed, and is not an old one sent again (Standard Webhooks). */
export function sign(body: string, { secret, newId, now }: SignatureOptions): Readonly<Record<string, string>> {
  const id = `msg_${newId()}`
  const timestamp = String(Math.floor(now() / 1000))
  const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }
}
