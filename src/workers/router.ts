import { createServer, type Server, type Socket } from 'node:net'
import { descriptorOf } from './descriptor.ts'

/** The longest first line that is looked at; what is longer is refused by any worker. */
const maxLineBytes = 16 * 1024

/** How long a client may take for its first line, and how many clients may be at it. The oldest goes first. */
const lineMs = 10_000
const maxWaiting = 4096
const sweepMs = 1000

export interface RouterOptions {
  /** `worker`: whose connection it is, by the id that its worker gave out. */
  readonly onConnection: (socket: Socket, head: Buffer, worker: number | undefined) => void
}

/**
 * The public port in front of several workers. Reads of each connection just the first line, which says whether the request belongs to a connection of
 * Engine.IO that is there already.
 */
export class Router {
  readonly server: Server
  readonly #options: RouterOptions
  /** In the order of their arrival. */
  readonly #waiting = new Map<Socket, number>()
  readonly #sweeper: NodeJS.Timeout

  constructor(options: RouterOptions) {
    this.#options = options
    this.server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#read(socket))
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs)
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    // Its `close` waits for connections that workers have.
    this.server.close()
    for (const socket of this.#waiting.keys()) socket.destroy()
  }

  #read(socket: Socket): void {
    const chunks: Buffer[] = []
    let length = 0
    this.#waiting.set(socket, performance.now())
    if (this.#waiting.size > maxWaiting) this.#waiting.keys().next().value?.destroy()
    socket.on('error', () => undefined)
    socket.once('close', () => this.#waiting.delete(socket))
    socket.once('end', () => socket.destroy())
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      length += chunk.length
      if (!chunk.includes(0x0a) && length < maxLineBytes) return
      descriptorOf(socket).readStop()
      socket.removeAllListeners('data').removeAllListeners('end').removeAllListeners('close')
      this.#waiting.delete(socket)
      const head = Buffer.concat(chunks)
      this.#options.onConnection(socket, head, workerOf(head))
    })
  }

  #sweep(): void {
    const due = performance.now() - lineMs
    for (const [socket, since] of this.#waiting) {
      if (since > due) return
      socket.destroy()
    }
  }
}

/** The number before the dot of the `sid` in the first line of a request. */
function workerOf(head: Buffer): number | undefined {
  const end = head.indexOf(0x0a)
  const [, number] = /[?&]sid=(\d{1,2})\./.exec(head.toString('latin1', 0, end === -1 ? head.length : end)) ?? []
  return number === undefined ? undefined : Number(number)
}
