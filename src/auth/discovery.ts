import { BridgeError } from '../errors.ts'

/** An address that keys are fetched from. @throws BridgeError invalid_config */
export function toAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.host === '')
    throw new BridgeError('invalid_config', `the address of keys is not an http or https URL: ${JSON.stringify(text)}`)
  // Not repeated: it would stand in the log.
  if (url.username !== '' || url.password !== '')
    throw new BridgeError('invalid_config', `the address of keys at ${url.host} holds a name or a password; keys are public, leave them out`)
  return url
}

/** Where an issuer describes itself (OpenID Connect Discovery 1.0, 4). */
export const toDiscoveryAddress = (issuer: string): URL => toAddress(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)

/**
 * Where the keys of an issuer are, by its discovery document.
 * @throws BridgeError invalid_config when it is somebody else's document, or leads where keys must not come from
 */
export function parseDiscovery(text: string, issuer: string): URL {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new BridgeError('invalid_config', 'the discovery document is not JSON', { cause })
  }
  const { issuer: says, jwks_uri: address } = typeof value === 'object' && value !== null ? { issuer: undefined, jwks_uri: undefined, ...value } : {}
  // Discovery 4.3: exactly, to the last slash.
  if (says !== issuer)
    throw new BridgeError(
      'invalid_config',
      `the discovery document is that of ${JSON.stringify(says)}, not of ${JSON.stringify(issuer)}: configure the issuer exactly so`,
    )
  if (typeof address !== 'string') throw new BridgeError('invalid_config', 'the discovery document has no jwks_uri')
  const url = toAddress(address)
  if (url.protocol !== 'https:' && !isAsNear(url, toAddress(issuer)))
    throw new BridgeError(
      'invalid_config',
      `the keys are at ${url.href}, which anybody on the way could change: the jwks_uri of the issuer must be https`,
    )
  return url
}

/** Without TLS only where the issuer itself is without: the same server, or this machine. */
function isAsNear(url: URL, issuer: URL): boolean {
  return issuer.protocol === 'http:' && (url.origin === issuer.origin || /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname))
}
