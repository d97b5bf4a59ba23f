import { hash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Publisher } from '../../core/access.ts'
import { BridgeError } from '../../errors.ts'

/** What is known of an API key: not the key. Several may have one name, so that one can take the place of another. */
export interface ApiKey extends Publisher {
  /** SHA-256 of the key, 32 bytes. */
  readonly sha256: Uint8Array
}

/** Whose key it is. */
export function findApiKey(apiKeys: readonly ApiKey[], key: string): ApiKey | undefined {
  const presented = hash('sha256', key, 'buffer')
  let found: ApiKey | undefined
  // All are compared, each in constant time, so that the time taken says nothing about any of them.
  for (const apiKey of apiKeys) if (timingSafeEqual(presented, apiKey.sha256)) found = apiKey
  return found
}

/** The API key of a request, or the token of a service. @throws BridgeError api_key_missing, api_key_invalid */
export function presentedKey({ headers, headersDistinct }: IncomingMessage): string {
  const { authorization } = headers
  // Node keeps the first of several: a proxy in front may have checked the last.
  if ((headersDistinct.authorization?.length ?? 0) > 1)
    throw new BridgeError('api_key_invalid', 'There is more than one Authorization header. Send one.')
  const plain = headers['x-api-key']
  if (authorization === undefined && plain === undefined) throw new BridgeError('api_key_missing', `Send ${howToSend}.`)
  const bearer = authorization === undefined ? undefined : /^Bearer +(\S+) *$/i.exec(authorization)?.[1]
  const key = bearer ?? plain
  if (authorization !== undefined && bearer === undefined) throw new BridgeError('api_key_invalid', toSchemeHint(authorization))
  // Two credentials that differ: whichever a proxy in front has checked, it may have been the other one.
  if (typeof key !== 'string' || (plain !== undefined && plain !== key))
    throw new BridgeError('api_key_invalid', 'Authorization and X-API-Key hold different keys. Send one of them.')
  return key
}

export function looksLikeToken(key: string): boolean {
  return /^eyJ[\w-]*\.[\w-]+\./.test(key)
}

const howToSend = 'Authorization: Bearer KEY or X-API-Key: KEY'

// These go by the form of what came and never repeat it: answers end up in logs.

function toSchemeHint(authorization: string): string {
  if (/^Bearer *$/i.test(authorization)) return 'No key follows the word Bearer.'
  if (/^Bearer /i.test(authorization)) return 'More than one word follows Bearer; a key has no spaces.'
  if (/^Basic /i.test(authorization)) return `A user name and password (Basic) are not taken. Send ${howToSend}.`
  return `Authorization does not begin with the word Bearer. Send ${howToSend}.`
}

/** Why a key is not known. */
export function toHint(key: string): string {
  if (key === '') return 'The key is empty.'
  if (looksLikeToken(key)) return 'This looks like a login token (JWT), which is for browsers. Send an API key.'
  if (key.startsWith('whsec_'))
    return 'This is a secret to sign requests with, and now it has been sent: replace it. Sign with it, or send an API key.'
  if (key.includes(':')) return 'This looks like name:KEY or name:KEY:scopes, as the bridge is configured. Send KEY alone.'
  return 'The API key is not known.'
}
