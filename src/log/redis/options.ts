import type { RetentionOptions } from '../retention.ts'
import { formatAddress, type RedisEndpoint } from './endpoint.ts'

export interface RedisLogOptions extends RetentionOptions {
  readonly endpoint: RedisEndpoint
  /** PEM: who has signed the certificate of Redis. */
  readonly ca?: string
  /** What the keys begin with. */
  readonly prefix: string
  /** How many replicas must have what is accepted. */
  readonly waitReplicas: number
  /** Where the window lies. Created when it is not there. */
  readonly directory: string
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Other processes of this machine read the window too, see `share`. One process at a time has the directory then. */
  readonly shared?: boolean
  /** What went wrong where nobody waits for an answer. */
  readonly onFailure: (error: unknown) => void
  /** In place of the clock of Redis. */
  readonly clock?: () => number
  /** How long a Redis that is away is waited for at the start. */
  readonly openMs?: number
  readonly sweepMs?: number
  readonly canaryMs?: number
}

/** For operators. */
export function whereIs({ endpoint }: Pick<RedisLogOptions, 'endpoint'>): string {
  return endpoint.servers.map(formatAddress).join(', ')
}
