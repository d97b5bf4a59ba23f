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

/** Two connections to the same process: one that commands, and one that waits for what comes. When one ends, both do. */
export class Link {
  readonly server: Server
  readonly address: RedisAddress
  readonly commands: Connection
  readonly follower: Connection
  readonly #sentinels: Sentinels | undefined
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
    const follower = await connect(commands.address, options)
    try {
      const { runId } = await readServer(follower)
      if (runId !== server.runId) throw new Error('the two connections lead to two servers')
      return new Link(server, commands, follower, sentinels)
    } catch (error) {
      follower.end(new Error('the connection is not used'))
      throw error
    }
  }

  private constructor(server: Server, commands: Connection, follower: Connection, sentinels: Sentinels | undefined) {
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

  end(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    clearTimeout(this.#asking)
    this.#sentinels?.close()
    this.commands.end(error)
    this.follower.end(error)
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
