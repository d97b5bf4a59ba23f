import { createClient, ErrorReply, RESP_TYPES } from '@redis/client'
import { formatAddress, type RedisAddress } from './endpoint.ts'
import { Refused } from './failure.ts'
import type { Script } from './scripts.ts'

/** What Redis answers; texts are bytes. */
export type Reply = Buffer | string | number | null | readonly Reply[]

type Argument = string | Buffer

const keepAliveMs = 5000

export interface ConnectionOptions {
  readonly tls: boolean
  /** PEM. */
  readonly ca?: string
  readonly username?: string
  readonly password?: string
  readonly database: number
  /** What is not answered by then never will be: the connection ends. */
  readonly timeoutMs: number
}

/**
 * One connection to one server. It never comes back: whoever wants to go on makes another one and looks whom it has got. Nothing waits in it for a
 * connection, and no call outlasts its time.
 */
export class Connection {
  readonly address: RedisAddress
  readonly #client: ReturnType<typeof createUnconnected>
  readonly #timeoutMs: number
  readonly #onEnd: ((error: Error) => void)[] = []
  #ended: Error | undefined

  /** @throws Refused, or the error of the network */
  static async open(address: RedisAddress, options: ConnectionOptions): Promise<Connection> {
    const { timeoutMs } = options
    const client = createUnconnected(address, options)
    const connection = new Connection(address, client, timeoutMs)
    try {
      await connection.#inTime(client.connect(), timeoutMs)
      return connection
    } catch (error) {
      connection.end(error instanceof Error ? error : new Error(String(error)))
      throw asRefused(error)
    }
  }

  private constructor(address: RedisAddress, client: ReturnType<typeof createUnconnected>, timeoutMs: number) {
    this.address = address
    this.#client = client
    this.#timeoutMs = timeoutMs
    client.on('error', (error) => this.end(error))
    client.on('end', () => this.end(new Error('the connection has ended')))
  }

  /** Told once, when the connection is over; at once when it is already. */
  onEnd(callback: (error: Error) => void): void {
    if (this.#ended === undefined) this.#onEnd.push(callback)
    else callback(this.#ended)
  }

  /** `blockMs`: how long the command itself may wait. @throws Refused, or why the connection is over */
  async call(args: readonly Argument[], blockMs = 0): Promise<Reply> {
    if (this.#ended !== undefined) throw this.#ended
    try {
      // The default of the library gives up on what was not yet sent, and on nothing else.
      const reply = this.#client.sendCommand<Reply>(args, { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer }, timeout: 0 })
      return await this.#inTime(reply, this.#timeoutMs + blockMs)
    } catch (error) {
      throw asRefused(error)
    }
  }

  /** @throws Refused, or why the connection is over */
  async run(script: Script, keys: readonly Argument[], args: readonly Argument[]): Promise<Reply> {
    const rest = [String(keys.length), ...keys, ...args]
    try {
      return await this.call(['EVALSHA', script.sha, ...rest])
    } catch (error) {
      // A server that was started anew, or a replica that was promoted, has not seen it yet.
      if (!(error instanceof Refused) || !error.message.startsWith('NOSCRIPT')) throw error
      return this.call(['EVAL', script.text, ...rest])
    }
  }

  end(error: Error): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    try {
      this.#client.destroy()
    } catch {
      // It was not open, or is not any more.
    }
    for (const callback of this.#onEnd) callback(error)
  }

  async #inTime<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const error = new Error(`Redis at ${formatAddress(this.address)} has not answered for ${timeoutMs} ms`)
        reject(error)
        this.end(error)
      }, timeoutMs)
    })
    try {
      return await Promise.race([answer, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Without all that the library would do by itself: connect again, keep commands for later, tell the server of itself. */
function createUnconnected({ host, port }: RedisAddress, { tls, ca, username, password, database, timeoutMs }: ConnectionOptions) {
  const common = { host, port, connectTimeout: timeoutMs, reconnectStrategy: false } as const
  return createClient({
    RESP: 2,
    socket: tls ? { ...common, tls, ...(ca !== undefined && { ca }) } : { ...common, keepAlive: true, keepAliveInitialDelay: keepAliveMs },
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    database,
    disableOfflineQueue: true,
    disableClientInfo: true,
    maintNotifications: 'disabled',
  })
}

function asRefused(error: unknown): unknown {
  return error instanceof ErrorReply ? new Refused(error.message) : error
}

/** For replies whose shape the command promises. */
export function toText(reply: Reply | undefined): string {
  return Buffer.isBuffer(reply) ? reply.toString() : String(reply ?? '')
}

export function toList(reply: Reply | undefined): readonly Reply[] {
  return Array.isArray(reply) ? reply : []
}

/** A hash, as RESP2 has it: names and values in turn. */
export function toRecord(reply: Reply | undefined): ReadonlyMap<string, string> {
  const items = toList(reply)
  return new Map(items.flatMap((name, index) => (index % 2 === 0 ? [[toText(name), toText(items[index + 1])] as const] : [])))
}
