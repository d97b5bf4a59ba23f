import type { Config } from './config.ts'

/** What is valid and still seldom meant, each in a line. */
export function notesOn({ gateway, http, jwt }: Config): readonly string[] {
  // With another encoding than utf8, quotes and prefixes do not decode.
  const secret = jwt.signing?.secret.export().toString('latin1') ?? ''
  return [
    ...(gateway.allowedOrigins.length === 0 ? ['SIDECAST_ALLOWED_ORIGINS is not set: no web page can connect'] : []),
    ...(http.apiKeys.length === 0 ? ['SIDECAST_API_KEYS is not set: nobody can publish'] : []),
    ...(/^(["']).*\1$/s.test(secret) ? ['SIDECAST_JWT_SECRET stands in quotes, which count as part of it: is that meant?'] : []),
    ...(secret.startsWith('base64:')
      ? [
          'SIDECAST_JWT_SECRET begins with base64:, which counts as part of it. If your application decodes it (the APP_KEY of Laravel), leave out base64: and set SIDECAST_JWT_SECRET_ENCODING=base64',
        ]
      : []),
  ]
}
