import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { toIdentity } from './auth/claims.ts'
import { createIntrospectedReader } from './auth/introspected.ts'
import { createTokenVerifier } from './auth/tokens.ts'
import { type BackendOptions, createBackend } from './backend/backend.ts'
import { createBackendJournal } from './backend-journal.ts'
import type { Config } from './config/config.ts'
import type { Credentials } from './core/credentials.ts'
import type { Check } from './core/health.ts'
import type { Identity } from './core/identity.ts'
import type { RoomAuthorizer } from './core/room-authorizer.ts'
import { createLogin } from './login.ts'
import type { Metrics } from './metrics/metrics.ts'
import { createRoomAuthorizer } from './room-rights.ts'

/** Who says who somebody is and what they may: the keys of the login tokens, and the application. */
export interface Authorities {
  readonly login: (credentials: Credentials) => Promise<Identity>
  readonly authorizeRoom: RoomAuthorizer
  checks(): readonly Check[]
  start(): void
  close(): void
}

/** @throws BridgeError invalid_config */
export function createAuthorities(
  config: Pick<Config, 'jwt' | 'http' | 'backend'>,
  { metrics, logger, onFailure }: { readonly metrics: Metrics; readonly logger: Logger; readonly onFailure: (error: unknown) => void },
): Authorities {
  const { issuers, clockToleranceMs } = config.jwt
  const now = Date.now
  const reservedAudiences = audiencesOfServices(config)
  const verifier = createTokenVerifier({ issuers, reservedAudiences, now, onFailure })
  const hasKeys = issuers.length > 0
  const backend =
    config.backend &&
    createBackend({
      ...config.backend,
      ...createReaders(config, now),
      observer: metrics.backend,
      journal: createBackendJournal(logger, now),
      newId: randomUUID,
      now,
    })
  const { rooms, connect, introspection } = backend ?? {}
  return {
    login: createLogin({
      ...(hasKeys && { verify: (token) => verifier.verify(token) }),
      ...(introspection && { introspect: (token) => introspection.login(token) }),
      ...(connect && { connect: (credentials) => connect.login(credentials) }),
    }),
    authorizeRoom: createRoomAuthorizer({
      ...(hasKeys && { verifyRoomToken: (token) => verifier.verifyRoomToken(token) }),
      ...(rooms && { ask: (session, room) => rooms.authorize(session, room) }),
      clockToleranceMs,
    }),
    checks: () => verifier.checks(),
    start: () => verifier.start(),
    close() {
      backend?.close()
      verifier.close()
    },
  }
}

/** How what the application, and what the authorization server, says about a login is read. */
export function createReaders(config: Pick<Config, 'jwt' | 'http'>, now: () => number): Pick<BackendOptions, 'readConnected' | 'readIntrospected'> {
  const { opaque } = config.jwt
  return {
    readConnected: (claims) => toIdentity(claims, { ...opaque, userClaims: ['sub'], roomsClaim: 'rooms', roomTemplates: [] }),
    readIntrospected: createIntrospectedReader({ expected: opaque, reservedAudiences: audiencesOfServices(config), now }),
  }
}

/** A token for services is no login, whoever signed it. */
const audiencesOfServices = ({ http }: Pick<Config, 'http'>): readonly string[] => (http.serviceJwt === undefined ? [] : [http.serviceJwt.audience])
