import type { Channel, ConsumeMessage } from 'amqplib'

/** One message that the broker has delivered and wants an answer to. */
export interface Delivery {
  readonly message: ConsumeMessage
  /** It is stored, or stands confirmed in the dead-letter queue. */
  settled: boolean
  acked: boolean
}

const compactAt = 4096

/**
 * The deliveries of one channel that are not acked, in the broker's order. Acks each once and only on this channel: all up to the first that is not settled
 * with one word, and those behind it one by one, so that a slow dead letter does not hold back the others.
 */
export class DeliveryWindow {
  readonly #channel: Pick<Channel, 'ack'>
  #deliveries: Delivery[] = []
  #first = 0
  #unacked = 0
  #settled: Delivery[] = []
  #closed = false
  #emptied: (() => void) | undefined

  constructor(channel: Pick<Channel, 'ack'>) {
    this.#channel = channel
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
    if (delivery.settled) return
    delivery.settled = true
    // What is settled in the same turn is acked together.
    if (this.#settled.push(delivery) === 1) queueMicrotask(() => this.#ack())
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
    this.#emptied?.()
  }

  #ack(): void {
    const settled = this.#settled
    this.#settled = []
    if (this.#closed) return
    try {
      this.#ackFirst()
      // The rest of these stands behind one that waits.
      for (const delivery of settled) this.#ackOne(delivery)
    } catch {
      // The channel has ended; whoever watches it says so, and the broker delivers again.
      this.close()
    }
    if (this.#unacked === 0) this.#emptied?.()
  }

  /** Acks everything up to the first delivery that is not settled. */
  #ackFirst(): void {
    let last: Delivery | undefined
    let count = 0
    for (let next = this.#deliveries[this.#first]; next?.settled; next = this.#deliveries[++this.#first]) {
      if (next.acked) continue
      next.acked = true
      last = next
      count++
    }
    if (this.#first === this.#deliveries.length || this.#first > compactAt) {
      this.#deliveries = this.#deliveries.slice(this.#first)
      this.#first = 0
    }
    if (last === undefined) return
    this.#channel.ack(last.message, true)
    this.#unacked -= count
  }

  #ackOne(delivery: Delivery): void {
    if (delivery.acked) return
    delivery.acked = true
    this.#channel.ack(delivery.message)
    this.#unacked--
  }
}
