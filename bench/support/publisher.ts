import { Child } from './child.ts'
import type { Publication, PublishOrder } from './publish-order.ts'
import type { Server } from './server.ts'

export type PublishOptions = Pick<PublishOrder, 'events' | 'to'> & Partial<Omit<PublishOrder, 'key'>>

/** The application, which numbers its events from 0. */
export class Publisher {
  readonly #key: string
  readonly #process = new Child<PublishOrder, Publication>('./publisher-process.ts')
  #next = 0

  constructor(key: string) {
    this.#key = key
  }

  /** @throws Error when anything was not accepted: nothing that follows would mean what it says. */
  async publish(server: Server, options: PublishOptions): Promise<Publication> {
    const { batch = 1 } = options
    // Batches to rooms begin where a room does.
    const first = Math.ceil(this.#next / batch) * batch
    const order = { mode: 'single', batch, connections: 1, bytes: 150, first, ...options } as const
    this.#next = order.first + order.events
    const publication = await this.#process.ask({ url: server.privateUrl, key: this.#key, ...order })
    if (publication.refused > 0) throw new Error(`${server.name} has refused ${publication.refused} of ${order.events} events`)
    return publication
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  stop(): Promise<void> {
    return this.#process.stop()
  }
}
