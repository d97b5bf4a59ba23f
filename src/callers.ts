import { createServiceTokenVerifier } from './auth/service-token.ts'
import type { Config } from './config/config.ts'
import type { Publisher } from './core/access.ts'
import type { Check } from './core/health.ts'
import { WatchedFile } from './files/watched-file.ts'
import type { ApiKey } from './http/credentials/api-key.ts'

/** How often the file of the API keys is read again. */
const pollMs = 1000

/** Who may call the ingress by what changes while the bridge runs: a file of API keys, and tokens of services. */
export interface Callers {
  readonly apiKeys: () => readonly ApiKey[]
  readonly verifyServiceToken?: (token: string) => Promise<Publisher>
  checks(): readonly Check[]
  start(): void
  close(): void
}

/** @throws BridgeError invalid_config */
export function createCallers(
  { apiKeys, apiKeysFile, serviceJwt }: Config['http'],
  { now, onFailure }: { readonly now: () => number; readonly onFailure: (error: unknown) => void },
): Callers {
  const file = apiKeysFile && new WatchedFile({ ...apiKeysFile, pollMs, onFailure })
  const services = serviceJwt && createServiceTokenVerifier(serviceJwt, { now, onFailure })
  return {
    apiKeys: () => file?.value ?? apiKeys,
    ...(services && { verifyServiceToken: (token) => services.verify(token) }),
    checks: () => services?.checks() ?? [],
    start() {
      file?.start()
      services?.start()
    },
    close() {
      file?.close()
      services?.close()
    },
  }
}
