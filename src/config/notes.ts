import type { KeyOrigin } from '../auth/issuer.ts'
import type { Config } from './config.ts'

/** What is valid and still seldom meant, each in a line. */
export function notesOn({ gateway, http, jwt, backend }: Config): readonly string[] {
  // With another encoding than utf8, quotes and prefixes do not decode.
  const secret = jwt.signing?.secret.export().toString('latin1') ?? ''
  return [
    ...(gateway.allowedOrigins.length === 0 ? ['SIDECAST_ALLOWED_ORIGINS is not set: no web page can connect'] : []),
    ...(http.apiKeys.length === 0 && http.signingKeys.length === 0 && http.serviceJwt === undefined
      ? ['SIDECAST_API_KEYS is not set: nobody can publish']
      : []),
    ...(/^(["']).*\1$/s.test(secret) ? ['SIDECAST_JWT_SECRET stands in quotes, which count as part of it: is that meant?'] : []),
    ...(secret.startsWith('base64:')
      ? [
          'SIDECAST_JWT_SECRET begins with base64:, which counts as part of it. If your application decodes it (the APP_KEY of Laravel), leave out base64: and set SIDECAST_JWT_SECRET_ENCODING=base64',
        ]
      : []),
    ...plainAddresses([
      ...jwt.issuers.flatMap(({ keys }) => keys.map(addressOf)),
      ...(http.serviceJwt?.keys.map(addressOf) ?? []),
      backend?.connectUrl,
      backend?.roomsUrl,
      backend?.introspection?.url,
    ]),
    ...jwt.issuers.flatMap(({ name, issuers, audiences, authorizedParties, keys }) => [
      // One authorization server has many applications: the token of another one would be a login.
      ...(audiences.length === 0 && authorizedParties.length === 0 && keys.some(({ kind }) => kind === 'jwks' || kind === 'oidc')
        ? [
            `the issuer ${name} publishes its keys, and its tokens for other applications count as logins: set SIDECAST_JWT_AUDIENCE or SIDECAST_JWT_AUTHORIZED_PARTY`,
          ]
        : []),
      ...(issuers.some((iss) => iss.endsWith('/auth/login'))
        ? [
            `the issuer ${name} is pinned to the address of a login request, which tymon/jwt-auth changes at a refresh: end SIDECAST_JWT_ISSUER with /* behind the host`,
          ]
        : []),
    ]),
  ]
}

function addressOf(origin: KeyOrigin): string | undefined {
  return origin.kind === 'jwks' ? origin.url : origin.kind === 'oidc' ? origin.issuer : undefined
}

/** Whoever is on the way could put keys and answers of their own there. */
function plainAddresses(addresses: readonly (string | undefined)[]): readonly string[] {
  return addresses.flatMap((address) => {
    if (address === undefined) return []
    const { protocol, hostname } = new URL(address)
    const isNear = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
    return protocol === 'http:' && !isNear
      ? [`${address} is called without TLS: whoever is on the way there can answer in its place. Use https, or keep the way private`]
      : []
  })
}
