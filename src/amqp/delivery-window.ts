import type { Channel, ConsumeMessage } from 'amqplib'

/** One message that the broker has delivered and wants an answer to. */
export interface Delivery {
  readonly message: ConsumeMessage
  /** It is stored, or stands confirmed in the dead-letter queue. */
  settled: boolean
  acked: boolean
}

/** How long what is settled waits for one before it, so that all can be acked with one word. */
const patienceMs = 100
const compactAt = 4096

/**
 * The deliveries of one channel that are not acked, in the broker's order. Acks each once and only on this channel: all up to the first that is not settled
 * with one word. Those behind it are acked one by one, which costs the broker much more, when it takes long or so many wait that the broker would send no more:
 * a slow dead letter does not hold back the others.
 */
export class DeliveryWindow {
  readonly #channel: Pick<Channel, 'ack'>
  readonly #maxBehind: number
  #deliveries: Delivery[] = []
  #first = 0
  #unacked = 0
  /** Settled and not acked. */
  #behind = 0
  #scheduled = false
  #impatience: NodeJS.Timeout | undefined
  #closed = false
  #emptied: (() => void) | undefined

  constructor(channel: Pick<Channel, 'ack'>, prefetch: number) {
    this.#channel = channel
    this.#maxBehind = Math.ceil(prefetch / 2)
  }

  get unacked(): number {
    return this.#unacked
  }

  open(message: ConsumeMessage): Delivery {
    const delivery: Delivery = { message, settled: false, acked: false }
    this.#deliveries.push(delivery)
    this.#unacked++
    return delivery
  }

  settle(delivery: Delivery): void {
    if (delivery.settled || this.#closed) return
    delivery.settled = true
    this.#behind++
    if (this.#scheduled) return
    this.#scheduled = true
    // What is settled in the same turn is acked together.
    queueMicrotask(() => {
      this.#scheduled = false
      this.#ack(false)
    })
  }

  /** Resolves when everything is acked. */
  async empty(): Promise<void> {
    if (this.#unacked === 0 || this.#closed) return
    await new Promise<void>((resolve) => {
      this.#emptied = resolve
    })
  }

  /** The channel is gone: the broker delivers again what was not acked. */
  close(): void {
    this.#closed = true
    this.#unacked = 0
    this.#deliveries = []
    clearTimeout(this.#impatience)
    this.#emptied?.()
  }

  #ack(impatient: boolean): void {
    if (this.#closed) return
    try {
      this.#ackFirst()
      if (this.#behind >= this.#maxBehind || (impatient && this.#behind > 0)) this.#ackBehind()
    } catch {
      // The channel has ended; whoever watches it says so, and the broker delivers again.
      this.close()
      return
    }
    if (this.#behind > 0)
      this.#impatience ??= setTimeout(() => {
        this.#impatience = undefined
        this.#ack(true)
      }, patienceMs)
    if (this.#unacked === 0) this.#emptied?.()
  }

  /** Acks everything up to the first delivery that is not settled. */
  #ackFirst(): void {
    let last: Delivery | undefined
    let count = 0
    for (let next = this.#deliveries[this.#first]; next?.settled; next = this.#deliveries[++this.#first]) {
      if (next.acked) continue
      next.acked = true
      // The one that is named must be unacked itself, or the broker closes the channel (406).
      last = next
      count++
    }
    if (this.#first === this.#deliveries.length || this.#first > compactAt) {
      this.#deliveries = this.#deliveries.slice(this.#first)
      this.#first = 0
    }
    if (last === undefined) return
    this.#count(count)
    this.#channel.ack(last.message, true)
  }

  #ackBehind(): void {
    for (const delivery of this.#deliveries.slice(this.#first)) {
      if (!delivery.settled || delivery.acked) continue
      delivery.acked = true
      this.#count(1)
      this.#channel.ack(delivery.message)
    }
  }

  #count(acked: number): void {
    this.#unacked -= acked
    this.#behind -= acked
  }
}
