import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

type Reply<Answer> = { readonly answer: Answer } | { readonly failure: string }

/** A process of the load generator that is told what to do, and answers each order before it gets the next one. */
export class Child<Order extends object, Answer> {
  readonly #process: ChildProcess
  #settle: PromiseWithResolvers<Answer> | undefined
  #last: Promise<unknown> = Promise.resolve()

  /** `file` is in this folder. */
  constructor(file: string) {
    this.#process = fork(fileURLToPath(new URL(file, import.meta.url)))
    this.#process.on('message', (reply: Reply<Answer>) => {
      if ('answer' in reply) this.#settle?.resolve(reply.answer)
      else this.#settle?.reject(new Error(reply.failure))
    })
    this.#process.once('exit', () => this.#settle?.reject(new Error('a process of the load generator has ended')))
  }

  ask(order: Order): Promise<Answer> {
    const answer = this.#last.then(() => {
      this.#settle = Promise.withResolvers<Answer>()
      this.#process.send(order)
      return this.#settle.promise
    })
    this.#last = answer.catch(() => undefined)
    return answer
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const ended = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await ended
  }
}

/** The other side: what such a process does. */
export function answerOrders<Order, Answer>(answer: (order: Order) => Promise<Answer>): void {
  process.on('message', (order: Order) => {
    answer(order).then(
      (given) => process.send?.({ answer: given }),
      (error: unknown) => process.send?.({ failure: String(error) }),
    )
  })
  process.on('disconnect', () => process.exit())
}
