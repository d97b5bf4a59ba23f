import { Child } from './child.ts'
import type { Publication, PublishOrder } from './publisher-process.ts'
import type { Server } from './server.ts'

export type PublishOptions = Pick<PublishOrder, 'events' | 'to'> & Partial<Omit<PublishOrder, 'url' | 'key'>>

/** The application, which numbers its events from 0. */
export class Publisher {
  readonly #key: string
  readonly #process = new Child<PublishOrder, Publication>('./publisher-process.ts')
  #next = 0

  constructor(key: string) {
    this.#key = key
  }

  /** Numbers begin at 0 again, for other clients. */
  restart(): void {
    this.#next = 0
  }

  /** @throws Error when anything was not accepted: nothing that follows would mean what it says. */
  async publish(server: Server, options: PublishOptions): Promise<Publication> {
    const order = { mode: 'single', batch: 1, connections: 1, bytes: 150, first: this.#next, ...options } as const
    this.#next = order.first + order.events
    const publication = await this.#process.ask({ ...order, url: server.privateUrl, key: this.#key })
    if (publication.refused > 0) throw new Error(`${server.name} has refused ${publication.refused} of ${order.events} events`)
    return publication
  }

  stop(): Promise<void> {
    return this.#process.stop()
  }
}
