import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Publisher } from '../../core/access.ts'
import { BridgeError } from '../../errors.ts'
import { type SeenRequests, toleranceSeconds } from './seen-requests.ts'

// The form of Standard Webhooks: `webhook-signature` holds one or several `v1,<base64>`, each HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>`.

export interface SigningKey extends Publisher {
  readonly secret: Uint8Array
}

/** During a rotation there are two; more would be work for nothing. */
const maxSignatures = 8

const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const

const refuse = (detail: string): BridgeError => new BridgeError('signature_invalid', detail)

export const replayed = (): BridgeError => new BridgeError('signature_replayed', 'Sign each attempt anew, with a new webhook-timestamp.')

/** A request that says that it is signed. Who has signed it shows only with its body. */
export class SignedRequest {
  /** The same for all attempts to send one thing; each attempt has a timestamp of its own. */
  readonly id: string
  readonly #timestamp: number
  readonly #signatures: readonly Buffer[]

  private constructor(id: string, timestamp: number, signatures: readonly Buffer[]) {
    this.id = id
    this.#timestamp = timestamp
    this.#signatures = signatures
  }

  /** Undefined when nothing is signed. `now`: milliseconds since 1970. @throws BridgeError signature_invalid */
  static of({ headersDistinct }: IncomingMessage, now: number): SignedRequest | undefined {
    const given = names.map((name) => headersDistinct[name])
    if (given.every((values) => values === undefined)) return undefined
    for (const [index, values] of given.entries())
      if (values?.length !== 1) throw refuse(`A signed request has one header ${names[index]}; this one has ${values?.length ?? 'none'}.`)
    const [id = '', timestamp = '', signature = ''] = given.flat()
    // A dot would let the border between the id and the rest be moved.
    if (!/^[\x21-\x2d\x2f-\x7e]{1,190}$/.test(id)) throw refuse('webhook-id must be 1 to 190 visible ASCII characters, none of them a dot.')
    if (!/^[1-9]\d{0,11}$/.test(timestamp)) throw refuse('webhook-timestamp must be seconds since 1970, in digits.')
    if (Math.abs(now / 1000 - Number(timestamp)) > toleranceSeconds)
      throw refuse('webhook-timestamp is more than five minutes from now: compare the clocks, and sign each attempt anew.')
    const signatures = signature.split(' ').flatMap((part) => /^v1,([A-Za-z0-9+/]{43}=)$/.exec(part)?.[1] ?? [])
    if (signatures.length === 0) throw refuse('webhook-signature holds no v1,<base64 of HMAC-SHA256>.')
    return new SignedRequest(
      id,
      Number(timestamp),
      signatures.slice(0, maxSignatures).map((text) => Buffer.from(text, 'base64')),
    )
  }

  /** Who has signed it; once in this process. `content`: the same for the same request. @throws BridgeError signature_invalid, signature_replayed, rate_limited */
  verify(body: Uint8Array, keys: readonly SigningKey[], seen: SeenRequests): { readonly publisher: Publisher; readonly content: string } {
    const start = `${this.id}.${this.#timestamp}.`
    let signer: SigningKey | undefined
    // All with all, each in constant time.
    for (const key of keys) {
      const expected = createHmac('sha256', key.secret).update(start).update(body).digest()
      for (const signature of this.#signatures) if (timingSafeEqual(signature, expected)) signer = key
    }
    if (signer === undefined)
      throw refuse('No known secret gives this signature: sign `<webhook-id>.<webhook-timestamp>.<body>`, the body as it is sent, byte for byte.')
    // By what was signed, not by the signature: with two secrets in force there are two of these.
    const content = createHash('sha256').update(start).update(body).digest('base64url')
    if (!seen.add(content, this.#timestamp)) throw replayed()
    return { publisher: signer, content }
  }
}
