import type { Channel, ConsumeMessage } from 'amqplib'
import type { Publisher } from '../core/access.ts'
import type { Hub } from '../core/hub.ts'
import type { Instruction } from '../core/instruction.ts'
import { BridgeError, toBridgeError } from '../errors.ts'
import { BackOff, pause } from './back-off.ts'
import type { DeadLetters } from './dead-letters.ts'
import { type Delivery, DeliveryWindow } from './delivery-window.ts'
import type { AmqpObserver } from './observer.ts'

export interface IntakeOptions {
  /** How many messages the broker sends ahead of the acks. */
  readonly prefetch: number
  readonly hub: Pick<Hub, 'carryOut'>
  /** @throws BridgeError: the message can never be delivered */
  readonly parse: (message: ConsumeMessage) => Instruction
  readonly deadLetters: Pick<DeadLetters, 'send'>
  readonly observer: AmqpObserver
  /** Events cannot be taken for the time being, and why; undefined: they can again. */
  readonly onPaused: (reason: string | undefined) => void
  /** Something that should not happen did, and was survived. */
  readonly onFailure: (error: unknown) => void
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Whoever may publish to the queue may do what messages can do: the broker is who knows them. */
const publisher: Publisher = { name: 'amqp', scopes: ['publish', 'admin'] }

/** Of one commit, for which all other publishers wait. */
const maxInstructions = 500

interface Item {
  readonly delivery: Delivery
  readonly instruction: Instruction
}

/**
 * Takes in what one channel delivers, in order: what can be stored is stored and acked, the rest goes to the dead letters and is acked when it is there.
 *
 * One commit runs at a time, so that one which fails cannot be overtaken by the next; what arrives meanwhile shares the next one. While the log cannot append, or too much
 * waits for slow clients, the same messages are tried again: the broker sends no more than the prefetch, and nothing is acked. Where the answer was lost they are
 * stored already, those without an id and commands among them: what is tried again is the same errand.
 */
export class Intake {
  readonly #options: IntakeOptions
  readonly #window: DeliveryWindow
  readonly #ended = new AbortController()
  #ready: Item[] = []
  #storing = false

  constructor(channel: Pick<Channel, 'ack'>, options: IntakeOptions) {
    this.#options = options
    this.#window = new DeliveryWindow(channel, options.prefetch)
  }

  get unacked(): number {
    return this.#window.unacked
  }

  /** Never throws. */
  take(message: ConsumeMessage): void {
    if (this.#ended.signal.aborted) return
    const delivery = this.#window.open(message)
    this.#options.observer.messagesConsumed(1)
    try {
      this.#ready.push({ delivery, instruction: this.#parse(message) })
    } catch (error) {
      this.#refuse(delivery, error)
      return
    }
    if (this.#storing) return
    this.#storing = true
    // All that one read brought shares a commit.
    setImmediate(() => void this.#store())
  }

  /** Resolves when all that was taken is acked. */
  finished(): Promise<void> {
    return this.#window.empty()
  }

  /** The channel is gone. What is not stored is dropped: the broker delivers it again, in order, to whoever consumes next. */
  end(): void {
    this.#ended.abort()
    this.#ready = []
    this.#window.close()
  }

  /** @throws BridgeError; without its stack, which nobody reads: in a flood of bad messages it would cost more than all else */
  #parse(message: ConsumeMessage): Instruction {
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    try {
      return this.#options.parse(message)
    } finally {
      Error.stackTraceLimit = stackTraceLimit
    }
  }

  async #store(): Promise<void> {
    while (this.#ready.length > 0) {
      await this.#append(this.#ready.splice(0, maxInstructions))
    }
    this.#storing = false
  }

  /** Never rejects. */
  async #append(batch: readonly Item[]): Promise<void> {
    const { signal } = this.#ended
    const errand = Symbol('what these messages say')
    const backOff = new BackOff({ firstMs: 50, maxMs: 1000 })
    for (let paused = false; !signal.aborted; paused = true) {
      try {
        const outcomes = await this.#options.hub.carryOut(
          publisher,
          batch.map(({ instruction }) => instruction),
          errand,
        )
        if (paused && !signal.aborted) this.#options.onPaused(undefined)
        this.#settle(batch, outcomes)
        return
      } catch (thrown) {
        if (!(thrown instanceof BridgeError && (thrown.code === 'log_unavailable' || thrown.code === 'overloaded')))
          return this.#isolate(batch, thrown)
        if (signal.aborted) return
        this.#options.onPaused(thrown.message)
        this.#options.observer.messagesRetried(batch.length)
        await pause(backOff.nextMs(), signal)
      }
    }
  }

  #settle(batch: readonly Item[], outcomes: Awaited<ReturnType<Hub['carryOut']>>): void {
    let appended = 0
    let duplicates = 0
    let oldest = Number.POSITIVE_INFINITY
    for (const [index, { delivery }] of batch.entries()) {
      const outcome = outcomes[index] ?? new BridgeError('internal')
      if (outcome instanceof BridgeError) {
        this.#refuse(delivery, outcome)
        continue
      }
      if ('duplicate' in outcome && outcome.duplicate) duplicates++
      else appended++
      const { timestamp } = delivery.message.properties
      if (typeof timestamp === 'number' && timestamp < oldest) oldest = timestamp
      this.#window.settle(delivery)
    }
    const age = oldest === Number.POSITIVE_INFINITY ? undefined : Math.max(0, this.#options.now() / 1000 - oldest)
    this.#options.observer.messagesAppended(appended, duplicates, age)
  }

  /** One of them cannot be stored, whatever the state of the log: found by storing one after the other. */
  async #isolate(batch: readonly Item[], error: unknown): Promise<void> {
    const [first, ...others] = batch
    if (first === undefined) return
    if (others.length === 0) this.#refuse(first.delivery, error)
    else for (const item of batch) await this.#append([item])
  }

  #refuse(delivery: Delivery, thrown: unknown): void {
    if (this.#ended.signal.aborted) return
    const error = toBridgeError(thrown)
    if (error.code === 'internal') this.#options.onFailure(thrown)
    this.#options.deadLetters.send(delivery.message, error, () => this.#window.settle(delivery))
  }
}
