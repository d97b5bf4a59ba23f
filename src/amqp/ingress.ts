import type { Channel } from 'amqplib'
import type { Check } from '../core/health.ts'
import { BackOff, pause } from './back-off.ts'
import { BrokerConnection, type BrokerOptions, reasonOf, within } from './broker-connection.ts'
import { aborted, DeadLetters } from './dead-letters.ts'
import { Intake, type IntakeOptions } from './intake.ts'
import type { AmqpJournal } from './observer.ts'
import { prepareTopology, type TopologyOptions } from './topology.ts'

export interface AmqpIngressOptions extends BrokerOptions, TopologyOptions, Omit<IntakeOptions, 'deadLetters' | 'onPaused'> {
  readonly journal: AmqpJournal
}

type State = 'idle' | 'connecting' | 'attaching' | 'consuming' | 'paused' | 'closing'

const attachMs = 15_000
/** What was attached for so long counts as well: the next loss is a new one. */
const stableMs = 10_000
const cancelMs = 2000
const finishMs = 5000

/**
 * The consumer of the queue, and whoever brings it back.
 *
 * States: idle -> connecting -> attaching (topology, prefetch, consume) -> consuming <-> paused (the log cannot append) -> closing.
 * From each of connecting, attaching, consuming and paused, what goes wrong leads back to connecting after a back-off, with everything made anew: the connection
 * refused, lost or silent for two heartbeats, closed by the broker (a shutdown, a deleted user), the channel closed by the broker (a refused operation, a right
 * that was taken away), the consumer cancelled by the broker (its queue was deleted), no answer while attaching. `close` leads from each to closing.
 */
export class AmqpIngress {
  readonly #options: AmqpIngressOptions
  readonly #deadLetters: DeadLetters
  readonly #closing = new AbortController()
  readonly #backOff = new BackOff({ firstMs: 100, maxMs: 5000 })
  #state: State = 'idle'
  /** Why there is no consumer. */
  #reason: string | undefined
  /** Why events cannot be stored. */
  #pausedBecause: string | undefined
  #intake: Intake | undefined
  #running: Promise<void> | undefined

  constructor(options: AmqpIngressOptions) {
    this.#options = options
    this.#deadLetters = new DeadLetters({ broker: options, ...options })
  }

  /** Returns at once: a broker that is away does not keep the bridge from starting. */
  start(): void {
    this.#running ??= this.#run()
  }

  /** How many messages are delivered and not acked. */
  get unacked(): number {
    return this.#intake?.unacked ?? 0
  }

  check(): Check {
    const failure = this.#failure()
    return { name: 'amqp', ...(failure === undefined ? {} : { failure }) }
  }

  /** Takes no more messages, finishes and acks those that are here, then leaves. May be called again. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
    this.#state = 'closing'
    await this.#deadLetters.close()
  }

  #failure(): string | undefined {
    const because = this.#reason === undefined ? '' : `: ${this.#reason}`
    switch (this.#state) {
      case 'idle':
        return 'no consumer is attached: it has not been started'
      case 'connecting':
      case 'attaching':
        return `no consumer is attached${because}`
      case 'consuming':
        return undefined
      case 'paused':
        return `the consumer waits until events can be stored: ${this.#pausedBecause}`
      case 'closing':
        return 'no consumer is attached: the bridge is shutting down'
      default:
        return this.#state satisfies never
    }
  }

  async #run(): Promise<void> {
    const { observer, journal, now } = this.#options
    const { signal } = this.#closing
    while (!signal.aborted) {
      const began = now()
      const reason = await this.#consume()
      if (signal.aborted) return
      if (now() - began > stableMs) this.#backOff.reset()
      const retryMs = this.#backOff.nextMs()
      this.#state = 'connecting'
      observer.consumerLost()
      if (reason !== this.#reason) journal.lost(reason, retryMs)
      this.#reason = reason
      await pause(retryMs, signal)
    }
  }

  /** Consumes until that ends; returns why. Never rejects. */
  async #consume(): Promise<string> {
    const { signal } = this.#closing
    this.#state = 'connecting'
    const opening = BrokerConnection.open(this.#options, 'consumer')
    try {
      const connection = await Promise.race([opening, aborted(signal)])
      if (typeof connection === 'string') return connection
      this.#state = 'attaching'
      const attaching = this.#attach(connection)
      const attached = await within(attachMs, Promise.race([attaching, connection.lost, aborted(signal)]))
      if (attached === undefined) return `the broker did not answer for ${attachMs / 1000} s`
      if (typeof attached === 'string') return attached
      this.#state = this.#pausedBecause === undefined ? 'consuming' : 'paused'
      this.#reason = undefined
      this.#options.journal.attached(this.#options.queue)
      const reason = await Promise.race([attached.lost, connection.lost, aborted(signal)])
      if (signal.aborted) {
        this.#state = 'closing'
        await Promise.race([attached.finish(), attached.lost, connection.lost])
      }
      return reason
    } catch (error) {
      return reasonOf(error)
    } finally {
      this.#detach()
      // Also one that comes when nobody waits for it any more.
      const closed = opening.then(
        (connection) => connection.close(),
        () => undefined,
      )
      if (!signal.aborted || this.#state !== 'connecting') await closed
    }
  }

  /** @throws Error when the connection ends */
  async #attach(connection: BrokerConnection): Promise<string | { readonly lost: Promise<string>; finish(): Promise<void> }> {
    const { queue, prefetch } = this.#options
    const problems = await prepareTopology(() => connection.openChannel(), this.#options)
    if (problems.length > 0) return problems.join('; ')
    const { channel, lost } = await connection.openChannel()
    await channel.prefetch(prefetch)
    const intake = new Intake(gathering(connection, channel), {
      ...this.#options,
      deadLetters: this.#deadLetters,
      onPaused: (reason) => this.#paused(reason),
    })
    const { promise: cancelled, resolve: cancel } = Promise.withResolvers<string>()
    this.#intake = intake
    const { consumerTag } = await channel.consume(queue, (message) => {
      if (message === null) cancel('the broker cancelled the consumer: its queue was deleted or is not available')
      else intake.take(message)
    })
    return {
      lost: Promise.race([lost, cancelled]),
      async finish() {
        await within(cancelMs, channel.cancel(consumerTag))
        await within(finishMs, intake.finished())
        // In the channel's own order, behind the last acks: the end of a connection would overtake them.
        await within(cancelMs, channel.close())
      },
    }
  }

  /** What was not acked comes again. */
  #detach(): void {
    this.#intake?.end()
    this.#intake = undefined
    this.#deadLetters.forget()
    this.#pausedBecause = undefined
  }

  #paused(reason: string | undefined): void {
    const { journal } = this.#options
    if (reason === undefined) journal.resumed()
    else if (this.#pausedBecause === undefined) journal.paused(reason)
    this.#pausedBecause = reason
    if (this.#state === 'consuming' || this.#state === 'paused') this.#state = reason === undefined ? 'consuming' : 'paused'
  }
}

/** Acks that follow each other go out together. */
function gathering(connection: BrokerConnection, channel: Channel): Pick<Channel, 'ack'> {
  return {
    ack(message, allUpTo) {
      connection.gather()
      channel.ack(message, allUpTo)
    },
  }
}
