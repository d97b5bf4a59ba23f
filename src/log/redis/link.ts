import { BridgeError } from '../../errors.ts'
import { Connection, toList, toText } from './connection.ts'
import { formatAddress, type RedisAddress, type RedisEndpoint } from './endpoint.ts'
import { explain, Refused } from './failure.ts'
import { readServer, type Server } from './server.ts'

export interface LinkOptions {
  readonly endpoint: RedisEndpoint
  /** PEM. */
  readonly ca?: string
  readonly timeoutMs: number
}

const maxRedirections = 5

/** Two connections to the same process: one that commands, and one that waits for what comes. When one ends, both do. */
export class Link {
  readonly server: Server
  readonly address: RedisAddress
  readonly commands: Connection
  readonly follower: Connection
  #failure: Error | undefined

  /** `probe`: a key; the server must be the one that keeps it. @throws Refused, BridgeError, or the error of the network */
  static async open(options: LinkOptions, probe: string): Promise<Link> {
    let address = await findMaster(options)
    for (let tries = 0; ; tries++) {
      const commands = await connect(address, options)
      try {
        // Its role before its data: a replica without its master refuses those.
        const server = await readServer(commands)
        if (server.role !== 'master') throw new Refused(`READONLY its role is ${server.role}`)
        const elsewhere = await redirection(commands, probe)
        if (elsewhere === undefined) return await Link.#complete(commands, server, options)
        if (tries === maxRedirections) throw new Refused(`MOVED in circles, last to ${formatAddress(elsewhere)}`)
        address = elsewhere.host === '' ? { ...elsewhere, host: address.host } : elsewhere
        commands.end(new Error('the keys are elsewhere'))
      } catch (error) {
        commands.end(new Error('the connection is not used'))
        throw error
      }
    }
  }

  static async #complete(commands: Connection, server: Server, options: LinkOptions): Promise<Link> {
    const follower = await connect(commands.address, options)
    try {
      const { runId } = await readServer(follower)
      if (runId !== server.runId) throw new Error('the two connections lead to two servers')
      return new Link(server, commands, follower)
    } catch (error) {
      follower.end(new Error('the connection is not used'))
      throw error
    }
  }

  private constructor(server: Server, commands: Connection, follower: Connection) {
    this.server = server
    this.address = commands.address
    this.commands = commands
    this.follower = follower
    for (const connection of [commands, follower]) connection.onEnd((error) => this.end(error))
  }

  /** Why it is over. */
  get failure(): Error | undefined {
    return this.#failure
  }

  end(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.commands.end(error)
    this.follower.end(error)
  }
}

function connect(address: RedisAddress, { endpoint, ca, timeoutMs }: LinkOptions): Promise<Connection> {
  const { tls, username, password, database } = endpoint
  return Connection.open(address, {
    tls,
    database,
    timeoutMs,
    ...(ca !== undefined && { ca }),
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
  })
}

/** The node of a cluster that has the keys, when this one has not. */
async function redirection(connection: Connection, probe: string): Promise<RedisAddress | undefined> {
  try {
    await connection.call(['HGET', probe, 'epoch'])
    return undefined
  } catch (error) {
    const [, host, port] = (error instanceof Refused && /^MOVED \d+ (.*):(\d+)$/.exec(error.message)) || []
    if (host === undefined) throw error
    return { host, port: Number(port) }
  }
}

async function findMaster(options: LinkOptions): Promise<RedisAddress> {
  const { servers, master } = options.endpoint
  const [only] = servers
  if (master === undefined && only !== undefined) return only
  const reasons: string[] = []
  for (const sentinel of servers) {
    try {
      const address = await askSentinel(sentinel, master ?? '', options)
      if (address !== undefined) return address
      reasons.push(`the sentinel ${formatAddress(sentinel)} knows no master ${master}`)
    } catch (error) {
      reasons.push(explain(error, formatAddress(sentinel)).reason)
    }
  }
  throw new BridgeError('log_unavailable', `no sentinel names the master: ${reasons.join('; ')}`)
}

async function askSentinel(sentinel: RedisAddress, master: string, options: LinkOptions): Promise<RedisAddress | undefined> {
  const { username: _, password: __, ...anonymous } = options.endpoint
  const ask = async (endpoint: RedisEndpoint): Promise<RedisAddress | undefined> => {
    const connection = await connect(sentinel, { ...options, endpoint: { ...endpoint, database: 0 } })
    try {
      const [host, port] = toList(await connection.call(['SENTINEL', 'get-master-addr-by-name', master])).map(toText)
      return host === undefined ? undefined : { host, port: Number(port) }
    } finally {
      connection.end(new Error('the sentinel has answered'))
    }
  }
  try {
    return await ask(anonymous)
  } catch (error) {
    // Sentinels have users of their own, mostly none.
    if (!(error instanceof Refused) || !/^NOAUTH|^NOPERM/.test(error.message)) throw error
    return ask(options.endpoint)
  }
}
