import type { Channel, GetMessage } from 'amqplib'
import { BridgeError } from '../errors.ts'
import { BrokerConnection, type BrokerOptions, reasonOf } from './broker-connection.ts'
import { type DeadLetter, toDeadLetter, toOriginal } from './dead-letter.ts'

export interface DeadLetterQueueOptions extends BrokerOptions {
  /** The queue that the bridge consumes. */
  readonly queue: string
  /** The queue of the dead letters, and their exchange. */
  readonly deadLetter: string
  /** The broker takes nothing for the time being, and why. */
  readonly onBlocked: (reason: string) => void
}

/** How many are published ahead of the confirmations. */
const maxInFlight = 100

/**
 * The dead letters as an operator sees them. AMQP cannot look at a message without taking it: letters are taken and not acked, and given back together at the
 * end. Until then nobody else sees them; when this process dies the broker gives them back.
 *
 * A quorum queue hands out what was given back before all else, and the latest of it last. The order stays if all that was given back at some time
 * is taken again: so one takes on until a letter comes that nobody has taken before.
 */
export class DeadLetterQueue {
  readonly #options: DeadLetterQueueOptions
  readonly #connection: BrokerConnection

  /** @throws BridgeError unavailable */
  static async connect(options: DeadLetterQueueOptions): Promise<DeadLetterQueue> {
    try {
      const connection = await BrokerConnection.open(options, 'dead letters')
      connection.onBlocked(options.onBlocked)
      return new DeadLetterQueue(options, connection)
    } catch (error) {
      throw new BridgeError('unavailable', `the broker cannot be reached: ${reasonOf(error)}`, { cause: error })
    }
  }

  private constructor(options: DeadLetterQueueOptions, connection: BrokerConnection) {
    this.#options = options
    this.#connection = connection
  }

  /** The first so many letters, one after the other, and how many there are. @throws BridgeError unavailable */
  async look(limit: number, onLetter: (letter: DeadLetter) => void): Promise<number> {
    return this.#take(limit, async (letters, _ack, count) => {
      for await (const { letter } of letters) onLetter(letter)
      return count
    })
  }

  /**
   * Puts the wanted ones of the letters that are there now back into the queue of the bridge, as they had been published; returns how many.
   * Each is acked when the broker has confirmed that the queue has it: a failure in between leaves it in both, never in neither.
   * What is refused again comes back behind all others.
   * @param limit how far from the head to look
   * @throws BridgeError unavailable: the rest stays where it is
   */
  async replay(limit: number, isWanted: (letter: DeadLetter) => boolean, onReplayed: (letter: DeadLetter) => void): Promise<number> {
    const exchange = `${this.#options.queue}.replay`
    const refusal = await this.#prepare(exchange)
    const { channel, lost } = await this.#connection.openConfirmChannel()
    const failed = lost.then((reason) => fail(refusal ?? reason))
    failed.catch(() => undefined)
    let undelivered = false
    // Comes before the confirmation of the same message.
    channel.on('return', () => {
      undelivered = true
    })
    const { queue } = this.#options

    return this.#take(limit, async (letters, ack) => {
      const inFlight = new Set<Promise<void>>()
      let replayed = 0
      const send = async (letter: DeadLetter, message: GetMessage): Promise<void> => {
        const confirmed = new Promise<void>((resolve, reject) => {
          channel.publish(exchange, letter.routingKey, letter.content, toOriginal(letter), (error) => (error === null ? resolve() : reject(error)))
        })
        await Promise.race([confirmed, failed])
        if (undelivered) throw new Error(`the exchange ${exchange} leads to no queue: is there a queue ${queue}?`)
        ack(message)
        replayed++
        onReplayed(letter)
      }
      const settle = async (atMost: number): Promise<void> => {
        while (inFlight.size > atMost) await Promise.race([...inFlight, failed])
      }
      try {
        for await (const { letter, message } of letters) {
          if (!isWanted(letter)) continue
          const sending: Promise<void> = send(letter, message).then(() => void inFlight.delete(sending))
          sending.catch(() => undefined)
          inFlight.add(sending)
          await settle(maxInFlight)
        }
        await settle(0)
      } finally {
        await Promise.race([channel.close().catch(() => undefined), lost])
      }
      return replayed
    })
  }

  async close(): Promise<void> {
    await this.#connection.close()
  }

  /**
   * An exchange that leads to nobody but the bridge: through the original one, others that consume from it would get the message a second time; straight to
   * the queue, its routing key would be lost, which may say whom it is for. Returns why it could not be made, which need not matter: it may be there.
   */
  async #prepare(exchange: string): Promise<string | undefined> {
    const { channel, lost } = await this.#connection.openChannel()
    try {
      await channel.assertExchange(exchange, 'fanout', { durable: true })
      await channel.bindQueue(this.#options.queue, exchange, '')
      await Promise.race([channel.close(), lost])
      return undefined
    } catch (error) {
      return reasonOf(error)
    }
  }

  /** Calls `work` with the first so many letters, what removes one, and how many there are; gives back all that was not removed. */
  async #take<T>(limit: number, work: (letters: AsyncIterable<Taken>, ack: (message: GetMessage) => void, count: number) => Promise<T>): Promise<T> {
    const { deadLetter } = this.#options
    try {
      const { channel, lost } = await this.#connection.openChannel()
      const failed = lost.then(fail)
      failed.catch(() => undefined)
      const { messageCount } = await channel.checkQueue(deadLetter)
      // What comes meanwhile is not looked at: a letter that is replayed may be among it.
      let left = messageCount
      const take = async (): Promise<GetMessage | undefined> => {
        if (left-- <= 0) return undefined
        return (await Promise.race([channel.get(deadLetter), failed])) || undefined
      }
      async function* letters(): AsyncGenerator<Taken> {
        let latest: GetMessage | undefined
        for (let position = 1; position <= limit; position++) {
          latest = await take()
          if (latest === undefined) return
          yield { letter: toDeadLetter(latest, position), message: latest }
        }
        while (latest?.fields.redelivered) latest = await take()
      }
      try {
        return await Promise.race([work(letters(), (message) => channel.ack(message), messageCount), failed])
      } finally {
        await giveBack(channel, lost)
      }
    } catch (error) {
      throw new BridgeError('unavailable', `the broker does not go along: ${reasonOf(error)}`, { cause: error })
    }
  }
}

interface Taken {
  readonly letter: DeadLetter
  readonly message: GetMessage
}

function fail(reason: string): never {
  throw new Error(reason)
}

/** Also when the channel is gone: then the broker has them back already. */
async function giveBack(channel: Channel, lost: Promise<string>): Promise<void> {
  try {
    channel.nackAll(true)
    await Promise.race([channel.close(), lost])
  } catch {
    await lost
  }
}
