import { hash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Publisher } from '../core/access.ts'
import { BridgeError } from '../errors.ts'

/** What is known of an API key: not the key. */
export interface ApiKey extends Publisher {
  /** SHA-256 of the key, 32 bytes. */
  readonly sha256: Uint8Array
}

/** Who calls. @throws BridgeError api_key_missing, api_key_invalid */
export type Authenticator = (request: IncomingMessage) => Publisher

export function createAuthenticator(apiKeys: readonly ApiKey[]): Authenticator {
  return (request) => {
    const presented = hash('sha256', presentedKey(request), 'buffer')
    let publisher: Publisher | undefined
    // All are compared, each in constant time, so that the time taken says nothing about any of them.
    for (const apiKey of apiKeys) if (timingSafeEqual(presented, apiKey.sha256)) publisher = apiKey
    if (publisher === undefined) throw new BridgeError('api_key_invalid')
    return publisher
  }
}

function presentedKey({ headers }: IncomingMessage): string {
  const { authorization } = headers
  const plain = headers['x-api-key']
  if (authorization === undefined && plain === undefined) throw new BridgeError('api_key_missing')
  const bearer = authorization === undefined ? undefined : /^Bearer +(\S+) *$/i.exec(authorization)?.[1]
  const key = bearer ?? plain
  // Two credentials that differ: whichever a proxy in front has checked, it may have been the other one.
  if (typeof key !== 'string' || (authorization !== undefined && bearer !== key) || (plain !== undefined && plain !== key))
    throw new BridgeError('api_key_invalid')
  return key
}
