import { setTimeout } from 'node:timers/promises'
import { type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib'

export interface Outgoing {
  readonly exchange: string
  readonly routingKey: string
  readonly content: Buffer
  readonly properties: Options.Publish & { readonly messageId: string }
}

/**
 * What a careful program does that must not lose a message: each is kept until the broker has confirmed it, and all that is not confirmed is sent again,
 * in its order and under its id, on the next connection.
 */
export class InsistentPublisher {
  readonly #url: string
  /** In the order of publishing. */
  readonly #unconfirmed = new Map<string, Outgoing>()
  #connection: ChannelModel | undefined
  #channel: ConfirmChannel | undefined
  #running: Promise<void> | undefined
  #over = false
  connections = 0
  confirmed = 0
  resent = 0
  /** Those that the broker had no queue for, or refused: sent again, they cannot keep their place. */
  refused = 0

  constructor(url: string) {
    this.#url = url
  }

  start(): void {
    this.#running ??= this.#run()
  }

  get unconfirmed(): number {
    return this.#unconfirmed.size
  }

  publish(message: Outgoing): void {
    this.#unconfirmed.set(message.properties.messageId, message)
    if (this.#channel !== undefined) this.#send(this.#channel, message)
  }

  async close(): Promise<void> {
    this.#over = true
    await this.#connection?.close().catch(() => undefined)
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#over) {
      try {
        await this.#stayConnected(await connect(this.#url, { noDelay: true, timeout: 2000 }))
      } catch {
        // Not there at the moment.
      }
      await setTimeout(20)
    }
  }

  async #stayConnected(connection: ChannelModel): Promise<void> {
    const closed = new Promise<undefined>((resolve) => connection.on('close', () => resolve(undefined)))
    this.#connection = connection
    connection.on('error', () => undefined)
    const channel = await Promise.race([connection.createConfirmChannel(), closed])
    if (channel === undefined) return
    channel.on('error', () => undefined)
    channel.on('return', () => this.refused++)
    this.connections++
    for (const message of this.#unconfirmed.values()) {
      this.resent++
      this.#send(channel, message)
    }
    this.#channel = channel
    await closed
    this.#channel = undefined
    this.#connection = undefined
  }

  #send(channel: ConfirmChannel, message: Outgoing): void {
    const { exchange, routingKey, content, properties } = message
    try {
      channel.publish(exchange, routingKey, content, { ...properties, persistent: true, mandatory: true }, (error) => {
        if (error === null) {
          if (this.#unconfirmed.delete(properties.messageId)) this.confirmed++
        } else if (error.message !== 'channel closed') this.refused++
      })
    } catch {
      // The channel has just ended; the next connection sends it.
    }
  }
}
