import { BridgeError } from '../../errors.ts'
import { Connection } from './connection.ts'
import { formatAddress, type RedisAddress, type RedisEndpoint } from './endpoint.ts'
import { Refused } from './failure.ts'
import { Sentinels } from './sentinels.ts'
import { readServer, type Server } from './server.ts'

export interface LinkOptions {
  readonly endpoint: RedisEndpoint
  /** PEM. */
  readonly ca?: string
  readonly timeoutMs: number
}

const maxRedirections = 5
/** How often the sentinels are asked whether it is still the master. */
const askMs = 1000

/** Connections to the same process: one that commands, one that waits for what comes, and `another` where it is needed. When one ends, all do. */
export class Link {
  readonly server: Server
  readonly address: RedisAddress
  readonly commands: Connection
  readonly follower: Connection
  readonly #options: LinkOptions
  readonly #sentinels: Sentinels | undefined
  readonly #others: Connection[] = []
  #asking: NodeJS.Timeout | undefined
  #failure: Error | undefined

  /** `probe`: a key; the server must be the one that keeps it. @throws Refused, BridgeError, or the error of the network */
  static async open(options: LinkOptions, probe: string): Promise<Link> {
    const { endpoint, timeoutMs, ca } = options
    const sentinels = Sentinels.of(endpoint, { timeoutMs, ...(ca !== undefined && { ca }) })
    try {
      return await Link.#find(options, probe, sentinels)
    } catch (error) {
      sentinels?.close()
      throw error
    }
  }

  static async #find(options: LinkOptions, probe: string, sentinels: Sentinels | undefined): Promise<Link> {
    const [only] = options.endpoint.servers
    let address = (await sentinels?.findMaster()) ?? only
    if (address === undefined) throw new BridgeError('internal', 'the address of Redis is missing')
    for (let tries = 0; ; tries++) {
      const commands = await connect(address, options)
      try {
        // Its role before its data: a replica without its master refuses those.
        const server = await readServer(commands)
        if (server.role !== 'master') throw new Refused(`READONLY its role is ${server.role}`)
        const elsewhere = await redirection(commands, probe)
        if (elsewhere === undefined) return await Link.#complete(commands, server, options, sentinels)
        if (tries === maxRedirections) throw new Refused(`MOVED in circles, last to ${formatAddress(elsewhere)}`)
        address = elsewhere.host === '' ? { ...elsewhere, host: address.host } : elsewhere
        commands.end(new Error('the keys are elsewhere'))
      } catch (error) {
        commands.end(new Error('the connection is not used'))
        throw error
      }
    }
  }

  static async #complete(commands: Connection, server: Server, options: LinkOptions, sentinels: Sentinels | undefined): Promise<Link> {
    const follower = await connectTo(server, commands.address, options)
    return new Link(server, commands, follower, options, sentinels)
  }

  private constructor(server: Server, commands: Connection, follower: Connection, options: LinkOptions, sentinels: Sentinels | undefined) {
    this.#options = options
    this.#sentinels = sentinels
    this.server = server
    this.address = commands.address
    this.commands = commands
    this.follower = follower
    for (const connection of [commands, follower]) connection.onEnd((error) => this.end(error))
    if (sentinels !== undefined && this.#failure === undefined) this.#askSoon(sentinels)
  }

  /** Why it is over. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** One more connection, for what would hold the others up. @throws why the link is over */
  async another(): Promise<Connection> {
    try {
      const connection = await connectTo(this.server, this.address, this.#options)
      this.#others.push(connection)
      connection.onEnd((error) => this.end(error))
      if (this.#failure !== undefined) connection.end(this.#failure)
      return connection
    } catch (error) {
      this.end(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }

  end(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    clearTimeout(this.#asking)
    this.#sentinels?.close()
    for (const connection of [this.commands, this.follower, ...this.#others]) connection.end(error)
  }

  /** One that was replaced while it lives, cut off from the sentinels, says nothing about it. */
  #askSoon(sentinels: Sentinels): void {
    this.#asking = setTimeout(async () => {
      const master = await sentinels.agreedMaster()
      if (this.#failure !== undefined) return
      if (master === undefined || formatAddress(master) === formatAddress(this.address)) this.#askSoon(sentinels)
      else this.end(new Error(`the sentinels name another master, ${formatAddress(master)}`))
    }, askMs).unref()
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

/** @throws Error: it leads to another server; Refused, or the error of the network */
async function connectTo({ runId }: Server, address: RedisAddress, options: LinkOptions): Promise<Connection> {
  const connection = await connect(address, options)
  try {
    if ((await readServer(connection)).runId !== runId) throw new Error('two connections lead to two servers')
    return connection
  } catch (error) {
    connection.end(new Error('the connection is not used'))
    throw error
  }
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
