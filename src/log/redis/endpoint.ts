/** Where the Redis is, and as whom it is spoken to. */
export interface RedisEndpoint {
  /** The server, or the sentinels that know it. Never empty. */
  readonly servers: readonly RedisAddress[]
  /** What the sentinels call the master. Absent: the one server is it. */
  readonly master?: string
  readonly tls: boolean
  readonly username?: string
  readonly password?: string
  readonly database: number
}

export interface RedisAddress {
  readonly host: string
  readonly port: number
}

export function formatAddress({ host, port }: RedisAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}
