import { Socket } from 'node:net'
import { type Channel, type ChannelModel, type ConfirmChannel, connect, credentials } from 'amqplib'

export interface BrokerOptions {
  /** `amqp://user:password@host:port/vhost` or `amqps://`; `?heartbeat=` in seconds. */
  readonly url: string
  /** PEM: whom to trust instead of the authorities that Node knows. */
  readonly ca?: string
}

/** A channel that cannot be lost unnoticed. */
export interface OpenChannel<C extends Channel> {
  readonly channel: C
  /** Resolves with the reason when the channel is closed, by whomever. */
  readonly lost: Promise<string>
}

/**
 * Either side takes the other for gone after two to three of these without a word: so long a queue has nobody when a machine dies. RabbitMQ advises against
 * less than 5 s.
 */
const heartbeatSeconds = 5
const handshakeMs = 10_000
const closeMs = 2000

/** A connection that cannot be lost unnoticed: every error ends in `lost`, none is thrown where nobody catches it. */
export class BrokerConnection {
  readonly #model: ChannelModel
  readonly #socket: Socket | undefined
  #gathering = false
  /** Resolves with the reason when the connection is closed, by whomever. */
  readonly lost: Promise<string>

  /** @throws Error that says why there is no connection; never with the password in it */
  static async open({ url, ca }: BrokerOptions, purpose: string): Promise<BrokerConnection> {
    const address = new URL(url)
    if (!address.searchParams.has('heartbeat')) address.searchParams.set('heartbeat', String(heartbeatSeconds))
    try {
      const model = await connect(address.href, {
        noDelay: true,
        timeout: handshakeMs,
        // The library would take escaped letters beyond ASCII apart into bytes.
        credentials: credentials.plain(decodeURIComponent(address.username) || 'guest', decodeURIComponent(address.password) || 'guest'),
        clientProperties: { connection_name: `sidecast ${purpose}` },
        ...(ca === undefined ? {} : { ca }),
      })
      return new BrokerConnection(model)
    } catch (error) {
      // The library drops the broker's own words here.
      if (!/^Expected ConnectionOpenOk; got <ConnectionClose/.test(reasonOf(error))) throw error
      throw new Error(`the vhost ${decodeURIComponent(address.pathname.slice(1)) || '/'} is refused: it does not exist, or the user may not use it`)
    }
  }

  private constructor(model: ChannelModel) {
    this.#model = model
    this.#socket = socketOf(model)
    // Before anything else is done: an error event without a listener would end the process.
    this.lost = new Promise((resolve) => {
      let reason: string | undefined
      model.on('error', (error) => {
        reason ??= error.message
      })
      // Some closings by the broker (a shutdown, a deleted user) come without an error.
      model.on('close', (error) => resolve(reason ?? error?.message ?? 'the connection was closed'))
    })
  }

  async openChannel(): Promise<OpenChannel<Channel>> {
    return watch(await this.#model.createChannel())
  }

  async openConfirmChannel(): Promise<OpenChannel<ConfirmChannel>> {
    return watch(await this.#model.createConfirmChannel())
  }

  /** Tells of a memory or disk alarm: the broker takes nothing that is published. */
  onBlocked(listener: (reason: string) => void): void {
    this.#model.on('blocked', listener)
  }

  /**
   * What is sent from now on goes out together, in a moment. The library makes a system call of each frame, which costs more than all else where there are many.
   */
  gather(): void {
    if (this.#gathering || this.#socket === undefined) return
    const socket = this.#socket
    this.#gathering = true
    socket.cork()
    // The library hands the frames to the socket in the next turn; this is the one after it.
    setImmediate(() =>
      setImmediate(() => {
        this.#gathering = false
        socket.uncork()
      }),
    )
  }

  /** Says good-bye if the broker still listens, and gives the socket back in any case. */
  async close(): Promise<void> {
    await within(
      closeMs,
      this.#model.close().catch(() => undefined),
    )
    // The library only ends its side; with a broker that hangs, the socket would stay for ever.
    this.#socket?.destroy()
  }
}

/** The library keeps the socket to itself; without it all works the same, but for leaks and speed. */
function socketOf({ connection }: ChannelModel): Socket | undefined {
  return 'stream' in connection && connection.stream instanceof Socket ? connection.stream : undefined
}

function watch<C extends Channel>(channel: C): OpenChannel<C> {
  const lost = new Promise<string>((resolve) => {
    let reason: string | undefined
    channel.on('error', (error) => {
      reason ??= error.message
    })
    channel.on('close', () => resolve(reason ?? 'the channel was closed'))
  })
  return { channel, lost }
}

/** What a promise resolves to, or undefined when that takes too long: the library leaves some promises open when a connection ends. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Why something failed, in one line. A host with several addresses fails once for each. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return [...new Set(error.errors.map(reasonOf))].join(', ')
  return error instanceof Error ? error.message : String(error)
}
