import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { processTree, residentBytes, usedCpuSeconds } from './process-tree.ts'

/** What all parts of a run share. */
export interface Credentials {
  readonly secret: string
  readonly apiKey: string
}

interface ServerOptions {
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly readyBy: 'connect' | 'sidecast:ready'
  /** Where its profiles go; absent: it is not profiled. */
  readonly profile?: string | undefined
}

/** So long a profile may take to be written. */
const stopMs = 20_000
const readyMs = 30_000

/** A server under test, in processes of its own. */
export class Server {
  readonly name: string
  readonly readyBy: 'connect' | 'sidecast:ready'
  readonly port: number
  readonly privateUrl: string
  readonly #process: ChildProcess
  /** From its start to its first word that it is ready. */
  readonly startMs: number
  readonly #isProfiled: boolean

  private constructor(
    name: string,
    options: ServerOptions,
    process: ChildProcess,
    { startMs, ...urls }: { readonly public: string; readonly private: string; readonly startMs: number },
  ) {
    this.name = name
    this.startMs = startMs
    this.readyBy = options.readyBy
    this.#process = process
    this.#isProfiled = options.profile !== undefined
    this.port = Number(new URL(urls.public).port)
    this.privateUrl = urls.private
  }

  static async start(name: string, options: ServerOptions): Promise<Server> {
    const { file, args, env, profile } = options
    const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
    const path = fileURLToPath(new URL(file, import.meta.url))
    const startedAt = performance.now()
    const child = spawn(process.execPath, [...flags, path, ...args], {
      env: { PATH: process.env.PATH, NODE_ENV: 'production', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const killIt = (): void => void child.kill('SIGKILL')
    process.on('exit', killIt)
    child.once('exit', () => process.off('exit', killIt))
    const urls = await new Promise<{ readonly public: string; readonly private: string }>((resolve, reject) => {
      // What is said later is read, and thrown away.
      createInterface({ input: child.stdout }).on('line', (line) => {
        const said = JSON.parse(line)
        if (said.msg === 'ready') resolve(said)
        else if (said.level >= 50) process.stderr.write(`${name}: ${line}\n`)
      })
      child.once('exit', () => reject(new Error(`${name} does not start`)))
    })
    return new Server(name, options, child, { ...urls, startMs: performance.now() - startedAt })
  }

  /** Seconds of processor time that it has used so far, with its workers. */
  async cpuSeconds(): Promise<number> {
    return usedCpuSeconds(await processTree(this.#process.pid ?? 0))
  }

  async residentBytes(): Promise<number> {
    return residentBytes(await processTree(this.#process.pid ?? 0))
  }

  /** Without a word to anybody. */
  kill(): Promise<void> {
    return this.#end('SIGKILL')
  }

  /** When nothing is asked of it any more: in good order, where it has a profile to write, else at once. */
  async stop(): Promise<void> {
    if (!this.#isProfiled) return this.kill()
    const late = setTimeout(() => this.#process.kill('SIGKILL'), stopMs)
    await this.#end('SIGTERM')
    clearTimeout(late)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** Resolves when all that it depends on is there too. */
  async untilReady(): Promise<void> {
    for (const startedAt = performance.now(); (await fetch(`${this.privateUrl}/readyz`)).status !== 200; await sleep(20)) {
      if (performance.now() - startedAt > readyMs) throw new Error(`${this.name} does not become ready`)
    }
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const ended = once(this.#process, 'exit')
    this.#process.kill(signal)
    await ended
  }
}

/** What can be started, again and again. */
export interface Contender {
  readonly name: string
  /** `port`: absent, any that is free. */
  start(port?: number): Promise<Server>
}

export interface SidecastOptions {
  readonly workers?: number
  readonly durability?: 'disk' | 'process'
  /** Where its log lies; absent: in a new folder at each start. */
  readonly directory?: string
  /** More of them, without SIDECAST_. */
  readonly settings?: Readonly<Record<string, string>>
}

/** The servers of a run, with the same credentials; what they write lies in one folder. */
export class Servers {
  readonly credentials: Credentials
  readonly #folder: string
  readonly #profile: string | undefined

  /** `profile`: a folder for CPU profiles of Sidecast. */
  constructor(credentials: Credentials, folder: string, profile: string | undefined) {
    this.credentials = credentials
    this.#folder = folder
    this.#profile = profile
  }

  newDirectory(): Promise<string> {
    return mkdtemp(join(this.#folder, 'data-'))
  }

  sidecast(name: string, { workers = 1, durability = 'process', directory, settings = {} }: SidecastOptions = {}): Contender {
    const { secret, apiKey } = this.credentials
    const start = async (port = 0): Promise<Server> => {
      const values = {
        WORKERS: workers,
        JWT_SECRET: secret,
        API_KEYS: `bench:${apiKey}:publish`,
        PUBLIC_HOST: '127.0.0.1',
        PUBLIC_PORT: port,
        PRIVATE_PORT: 0,
        DATA_DIR: directory ?? (await this.newDirectory()),
        DURABILITY: durability,
        DRAIN_PERIOD: '0ms',
        LOG_LEVEL: 'info',
        ...settings,
      }
      const env = Object.fromEntries(Object.entries(values).map(([key, value]) => [`SIDECAST_${key}`, String(value)]))
      const server = await Server.start(name, { file: '../../src/cli.ts', args: ['serve'], env, readyBy: 'sidecast:ready', profile: this.#profile })
      await server.untilReady()
      return server
    }
    return { name, start }
  }

  /** Express and Socket.IO as one would put them together by hand, without storage. */
  stock(name = 'stock Socket.IO', { recovery = false }: { readonly recovery?: boolean } = {}): Contender {
    const args = recovery ? ['--recovery'] : []
    return {
      name,
      start: (port = 0) =>
        Server.start(name, { file: '../peers/stock.ts', args: [...args, `--port=${port}`], env: this.#peerEnv(), readyBy: 'connect' }),
    }
  }

  /** `ws` that writes one shared frame to each: nothing checked, nothing kept. */
  bare(name = 'bare ws'): Contender {
    return { name, start: () => Server.start(name, { file: '../peers/bare-ws.ts', args: [], env: this.#peerEnv(), readyBy: 'connect' }) }
  }

  #peerEnv(): Readonly<Record<string, string>> {
    return { PEER_SECRET: this.credentials.secret, PEER_API_KEY: this.credentials.apiKey }
  }
}
