import { setTimeout } from 'node:timers/promises'
import { Child } from './child.ts'
import type { ClientCount, ClientOrder } from './client-process.ts'
import { type LatencySummary, summarize } from './latencies.ts'
import type { Server } from './server.ts'

const graceMs = 500
/** An address has 28,000 ports, and the system is long in finding a free one where many are taken, or were a minute ago. */
const sessionsOfAddress = 1000

export interface CrowdOptions {
  readonly secret: string
  readonly users: number
  readonly rooms: number
  readonly firstUser?: number
  readonly room?: string
  readonly processes?: number
  readonly atOnce?: number
  readonly events?: number
}

export interface Count extends Omit<ClientCount, 'latencies'> {
  readonly latency: LatencySummary
}

/** All clients of a run, in processes of their own. */
export class Clients {
  readonly #processes: readonly Child<ClientOrder, ClientCount>[]
  /** How long the first logins took, from the first connection to the last word, and how many cores the clients used. */
  login = { seconds: Number.NaN, cores: Number.NaN }

  private constructor(processes: number) {
    this.#processes = Array.from({ length: processes }, () => new Child<ClientOrder, ClientCount>('./client-process.ts'))
  }

  /** Resolves when everybody is logged in; throws when somebody is not. */
  static async connect(server: Server, options: CrowdOptions): Promise<Clients> {
    const { secret, users, rooms, firstUser = 0, room, processes = 2, atOnce = 100, events } = options
    const clients = new Clients(processes)
    try {
      const count = await clients.#all((index) => ({
        kind: 'connect',
        port: server.port,
        secret,
        users: Array.from({ length: Math.ceil((users - index) / processes) }, (_, nth) => ({
          name: firstUser + nth * processes + index,
          // Each process has the same part of each room, and every other user: whatever is published, their shares are even.
          room: rooms === 0 ? undefined : nth % rooms,
        })),
        ...(room !== undefined && { room }),
        addresses: Math.min(250, Math.ceil(users / sessionsOfAddress)),
        atOnce: Math.ceil(atOnce / processes),
        readyBy: server.readyBy,
        ...(events !== undefined && { events }),
      }))
      if (count.ready !== users) throw new Error(`${server.name}: only ${count.ready} of ${users} clients are logged in`)
      const seconds = (count.lastAt - count.loginStartedAt) / 1e6
      clients.login = { seconds, cores: count.cpuSeconds / seconds }
      return clients
    } catch (error) {
      await clients.stop()
      throw error
    }
  }

  clear(): Promise<Count> {
    return this.#all(() => ({ kind: 'clear' }))
  }

  /** `frames` of all of them together, of which each process has its share. */
  async awaitFrames(frames: number): Promise<Count> {
    let count = await this.#all(() => ({ kind: 'await', frames: Math.floor(frames / this.#processes.length) }))
    // Where the shares are not even, one of them had its share before another.
    for (let before = -1; count.frames < frames && count.frames > before; ) {
      before = count.frames
      await setTimeout(graceMs)
      count = await this.#all(() => ({ kind: 'await', frames: 0 }))
    }
    return count
  }

  cut(): Promise<Count> {
    return this.#all(() => ({ kind: 'cut' }))
  }

  reconnect(port: number, atOnce: number): Promise<Count> {
    return this.#all(() => ({ kind: 'reconnect', port, atOnce: Math.ceil(atOnce / this.#processes.length) }))
  }

  jitter(seconds: number, cutMs: number, stayMs: number): Promise<Count> {
    return this.#all(() => ({ kind: 'jitter', seconds, cutMs, stayMs }))
  }

  stall(everyMs: number): Promise<Count> {
    return this.#all(() => ({ kind: 'stall', everyMs }))
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((child) => child.stop()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #all(orderOf: (index: number) => ClientOrder): Promise<Count> {
    const counts = await Promise.all(this.#processes.map((child, index) => child.ask(orderOf(index))))
    const total = (field: Exclude<keyof ClientCount, 'latencies' | 'lastAt' | 'loginStartedAt'>): number =>
      counts.reduce((sum, count) => sum + count[field], 0)
    return {
      ready: total('ready'),
      frames: total('frames'),
      sum: total('sum'),
      duplicates: total('duplicates'),
      disorder: total('disorder'),
      lost: total('lost'),
      loginStartedAt: Math.min(...counts.map(({ loginStartedAt }) => loginStartedAt)),
      lastAt: Math.max(...counts.map(({ lastAt }) => lastAt)),
      latency: summarize(counts.map(({ latencies }) => latencies)),
      cpuSeconds: total('cpuSeconds'),
    }
  }
}
