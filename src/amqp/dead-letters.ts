import { randomUUID } from 'node:crypto'
import type { ConfirmChannel, ConsumeMessage, Options } from 'amqplib'
import { type BridgeError, type ErrorCode, toBridgeError } from '../errors.ts'
import { BackOff, pause } from './back-off.ts'
import { BrokerConnection, type BrokerOptions, reasonOf } from './broker-connection.ts'
import type { AmqpJournal, AmqpObserver } from './observer.ts'

/** What a dead letter says in its headers, besides those that it came with. */
export const deadLetterHeaders = {
  /** `code: text`. */
  error: 'sidecast-error',
  /** Where it had been published to. */
  exchange: 'sidecast-exchange',
  routingKey: 'sidecast-routing-key',
  /** One for each dead letter; it stands in the logs too. */
  id: 'sidecast-dead-letter',
  /** When it was refused, ISO 8601. */
  time: 'sidecast-time',
  /** Properties that the broker would act on. */
  userId: 'sidecast-user-id',
  expiration: 'sidecast-expiration',
} as const

export interface DeadLettersOptions {
  readonly broker: BrokerOptions
  /** The exchange. */
  readonly deadLetter: string
  readonly observer: AmqpObserver
  readonly journal: AmqpJournal
  /** Milliseconds since 1970. */
  readonly now: () => number
}

interface Letter {
  readonly id: string
  readonly time: string
  readonly message: ConsumeMessage
  readonly code: ErrorCode
  readonly reason: string
  readonly onConfirmed: () => void
}

const maxReasonLength = 500
/** A frame of the broker holds 128 KiB, and ours must fit in too. */
const maxHeaderBytes = 96 * 1024

/**
 * Puts what cannot be delivered into the dead-letter queue. On a connection of its own, which is opened for the first letter: a broker that is low on memory reads
 * nothing more from connections that publish, acks included, and the consumer must go on.
 *
 * States: idle -> opening -> open (letters are sent as they come) -> failed -> opening, after a back-off, while letters wait; else idle.
 * A letter waits until the broker has confirmed that a queue has it.
 */
export class DeadLetters {
  readonly #options: DeadLettersOptions
  readonly #closing = new AbortController()
  readonly #waiting = new Map<string, Letter>()
  readonly #returned = new Set<string>()
  readonly #backOff = new BackOff({ firstMs: 100, maxMs: 5000 })
  #channel: ConfirmChannel | undefined
  #connection: BrokerConnection | undefined
  #running: Promise<void> | undefined
  #failing = false

  constructor(options: DeadLettersOptions) {
    this.#options = options
  }

  /** `onConfirmed` is called when it is safe; until then it is tried again and again. */
  send(message: ConsumeMessage, error: BridgeError, onConfirmed: () => void): void {
    const time = new Date(this.#options.now()).toISOString()
    const letter: Letter = { id: randomUUID(), time, message, code: error.code, reason: error.message.slice(0, maxReasonLength), onConfirmed }
    this.#options.journal.refused(letter.code, letter.reason, letter.id)
    this.#waiting.set(letter.id, letter)
    if (this.#channel === undefined) this.#running ??= this.#run()
    else this.#publish(this.#channel, letter)
  }

  /** The channel on which they came is lost: the broker delivers what waits here again. */
  forget(): void {
    this.#waiting.clear()
    this.#returned.clear()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted && this.#waiting.size > 0) {
      const reason = await this.#stayOpen()
      if (signal.aborted || this.#waiting.size === 0) break
      this.#failed(reason, this.#waiting.size)
      await pause(this.#backOff.nextMs(), signal)
    }
    this.#running = undefined
  }

  /** Sends what waits and what comes until the connection is lost; returns why. */
  async #stayOpen(): Promise<string> {
    let connection: BrokerConnection | undefined
    try {
      connection = await BrokerConnection.open(this.#options.broker, 'dead letters')
      connection.onBlocked((reason) => this.#failed(`the broker takes no messages: ${reason}`, 0))
      const { channel, lost } = await connection.openConfirmChannel()
      // Comes before the confirmation of the same message.
      channel.on('return', ({ properties }) => this.#returned.add(String(properties.headers?.[deadLetterHeaders.id])))
      this.#channel = channel
      this.#connection = connection
      for (const letter of this.#waiting.values()) this.#publish(channel, letter)
      return await Promise.race([connection.lost, lost, aborted(this.#closing.signal)])
    } catch (error) {
      return reasonOf(error)
    } finally {
      this.#channel = undefined
      this.#connection = undefined
      await connection?.close()
    }
  }

  #publish(channel: ConfirmChannel, letter: Letter): void {
    const { message, id } = letter
    const { deadLetter } = this.#options
    const onAnswer = (error: unknown): void => {
      // Confirmed and returned: the exchange has no queue, the message is nowhere.
      const returned = this.#returned.delete(id)
      if (error === null && !returned) this.#confirmed(letter)
      else if (this.#channel === channel) this.#again(channel, letter, returned ? `no queue is bound to the exchange ${deadLetter}` : reasonOf(error))
    }
    try {
      this.#connection?.gather()
      channel.publish(deadLetter, message.fields.routingKey, message.content, toProperties(letter, message.properties.headers), onAnswer)
    } catch (error) {
      // The channel has just ended, or the headers cannot be written again.
      if (this.#channel === channel) this.#again(channel, letter, toBridgeError(error).message)
    }
  }

  #again(channel: ConfirmChannel, letter: Letter, reason: string): void {
    this.#failed(reason, 1)
    void pause(this.#backOff.nextMs(), this.#closing.signal).then(() => {
      if (this.#channel === channel && this.#waiting.has(letter.id)) this.#publish(channel, letter)
    })
  }

  #confirmed(letter: Letter): void {
    if (!this.#waiting.delete(letter.id)) return
    this.#backOff.reset()
    if (this.#failing) this.#options.journal.deadLettersWorking()
    this.#failing = false
    this.#options.observer.messageDeadLettered(letter.code)
    letter.onConfirmed()
  }

  #failed(reason: string, letters: number): void {
    if (!this.#failing) this.#options.journal.deadLettersFailing(reason)
    this.#failing = true
    if (letters > 0) this.#options.observer.messagesRetried(letters)
  }
}

function toProperties({ id, time, message, code, reason }: Letter, headers: Readonly<Record<string, unknown>> | undefined): Options.Publish {
  const { fields, properties } = message
  const { contentType, contentEncoding, priority, correlationId, replyTo, messageId, timestamp, type, appId, userId, expiration } = properties
  return {
    contentType,
    contentEncoding,
    priority,
    correlationId,
    replyTo,
    messageId,
    timestamp,
    type,
    appId,
    headers: {
      ...(fits(headers) ? headers : undefined),
      [deadLetterHeaders.error]: `${code}: ${reason}`,
      [deadLetterHeaders.exchange]: fields.exchange,
      [deadLetterHeaders.routingKey]: fields.routingKey,
      [deadLetterHeaders.id]: id,
      [deadLetterHeaders.time]: time,
      // The broker refuses a user that is not the connection's, and would let the dead letter expire.
      ...(userId === undefined ? {} : { [deadLetterHeaders.userId]: userId }),
      ...(expiration === undefined ? {} : { [deadLetterHeaders.expiration]: expiration }),
    },
    persistent: true,
    mandatory: true,
  }
}

function fits(headers: unknown): boolean {
  return Buffer.byteLength(JSON.stringify(headers) ?? '') <= maxHeaderBytes
}

/** Resolves when the signal is given. */
export function aborted(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const reason = 'it is closing'
    if (signal.aborted) resolve(reason)
    else signal.addEventListener('abort', () => resolve(reason), { once: true })
  })
}
