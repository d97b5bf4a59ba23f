import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

type Reply<Answer> = { readonly answer: Answer } | { readonly failure: string }

/** A process of the load generator that is told what to do. It carries out one order after the other, and knows the next one before it has answered the last. */
export class Child<Order extends object, Answer> {
  readonly #process: ChildProcess
  readonly #waiting: PromiseWithResolvers<Answer>[] = []

  /** `file` is in this folder. */
  constructor(file: string) {
    this.#process = fork(fileURLToPath(new URL(file, import.meta.url)))
    this.#process.on('message', (reply: Reply<Answer>) => {
      const first = this.#waiting.shift()
      if ('answer' in reply) first?.resolve(reply.answer)
      else first?.reject(new Error(reply.failure))
    })
    this.#process.once('exit', () => {
      for (const one of this.#waiting.splice(0)) one.reject(new Error('a process of the load generator has ended'))
    })
  }

  ask(order: Order): Promise<Answer> {
    const answer = Promise.withResolvers<Answer>()
    this.#waiting.push(answer)
    this.#process.send(order)
    return answer.promise
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
  let last = Promise.resolve<unknown>(undefined)
  process.on('message', (order: Order) => {
    last = last
      .then(() => answer(order))
      .then(
        (given) => process.send?.({ answer: given }),
        (error: unknown) => process.send?.({ failure: String(error) }),
      )
  })
  process.on('disconnect', () => process.exit())
}
