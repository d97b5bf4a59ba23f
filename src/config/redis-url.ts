import { BridgeError } from '../errors.ts'

/** Where Redis is, and as whom it is spoken to. */
export interface RedisPlace {
  /** The server, or the sentinels that know it. Never empty. */
  readonly servers: readonly RedisHost[]
  /** What the sentinels call the master. */
  readonly master?: string
  readonly tls: boolean
  readonly username?: string
  readonly password?: string
  readonly database: number
}

interface RedisHost {
  readonly host: string
  readonly port: number
}

const form = 'redis://user:password@host:6379/0, rediss:// for TLS, or redis+sentinel://user:password@host1:26379,host2:26379/master/0'

/** Where Redis is. No message repeats the address: it holds a password. @throws BridgeError invalid_config */
export function parseRedisUrl(text: string): RedisPlace {
  const [, protocol, sentinel, userInfo = '', hosts = '', path = ''] =
    /^(rediss?)(\+sentinel)?:\/\/(?:([^@/]*)@)?([^/?#@]*)(\/[^?#]*)?$/.exec(text) ?? []
  if (protocol === undefined) throw refuse(`must be ${form}; reserved characters in user and password are percent-encoded`)
  const colon = userInfo.indexOf(':')
  const [username, password] = (colon < 0 ? [userInfo, ''] : [userInfo.slice(0, colon), userInfo.slice(colon + 1)]).map(decode)
  const servers = hosts.split(',').map((host) => parseAddress(host, sentinel === undefined ? 6379 : 26_379))
  if (sentinel === undefined && servers.length > 1) throw refuse(`names several hosts, as only sentinels are: it must be ${form}`)
  const parts = path.split('/').slice(1).map(decode)
  const master = sentinel === undefined ? undefined : parts.shift()
  if (sentinel !== undefined && !master) throw refuse(`does not say what the sentinels call the master: it must be ${form}`)
  const [database = '', ...surplus] = parts
  if (surplus.length > 0 || !/^\d{0,5}$/.test(database)) throw refuse('must end with the number of a database, or with nothing for 0')
  return {
    servers,
    ...(master && { master }),
    tls: protocol === 'rediss',
    ...(username && { username }),
    ...(password && { password }),
    database: Number(database),
  }
}

/** What the keys begin with. @throws BridgeError invalid_config */
export function parseRedisPrefix(text: string): string {
  // Braces would move the hash tag.
  if (!/^[A-Za-z0-9._:-]{1,64}$/.test(text)) throw refuse('must be 1 to 64 letters, digits, dots, dashes, underscores and colons')
  return text
}

function parseAddress(text: string, defaultPort: number): RedisHost {
  const [, host, bare, digits] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i.exec(text) ?? []
  const name = host ?? bare
  const port = digits === undefined ? defaultPort : Number(digits)
  if (name === undefined || port < 1 || port > 65_535) throw refuse(`names no host and port: it must be ${form}`)
  return { host: name, port }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw refuse('has a % that is not followed by two hex digits of UTF-8: a % itself is %25')
  }
}

function refuse(detail: string): BridgeError {
  return new BridgeError('invalid_config', detail)
}
