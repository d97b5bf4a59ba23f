import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, expect } from 'vitest'
import { testEnvironment } from './bridge.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

const running = new Set<BridgeProcess>()
afterEach(async () => {
  const left = [...running]
  await Promise.all(left.map((bridge) => bridge.kill()))
  expect(left.length, 'bridges that the test did not end').toBe(0)
})

/** `sidecast serve` as a process of its own. */
export class BridgeProcess {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  /** All that it has printed, on both streams. */
  readonly lines: string[] = []
  #watchers: (() => void)[] = []
  #over: Ended | undefined

  constructor(
    settings: Readonly<Record<string, string>>,
    { directory, nodeOptions = [] }: { readonly directory: string; readonly nodeOptions?: readonly string[] },
  ) {
    const env = { PATH: process.env.PATH, ...testEnvironment(directory, { LOG_LEVEL: 'info', ...settings }) }
    this.child = spawn(process.execPath, [...nodeOptions, cli, 'serve'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(this)
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (stream === null) continue
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line)
        this.#check()
      })
    }
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      this.#over = { code, signal }
      running.delete(this)
      this.#check()
      return this.#over
    })
  }

  /** Resolves with the first line that holds the text; rejects when the process ends before. */
  said(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = (): boolean => {
        const line = this.lines.find((line) => line.includes(text))
        if (line !== undefined) resolve(line)
        else if (this.#over !== undefined) reject(new Error(`ended without saying ${text}:\n${this.lines.join('\n')}`))
        return line !== undefined || this.#over !== undefined
      }
      const watch = (): void => {
        if (look()) this.#watchers = this.#watchers.filter((other) => other !== watch)
      }
      this.#watchers.push(watch)
      watch()
    })
  }

  /** Resolves with the addresses when it is ready. */
  async ready(): Promise<{ readonly publicUrl: string; readonly privateUrl: string }> {
    const { public: publicUrl, private: privateUrl } = JSON.parse(await this.said('"msg":"ready"'))
    return { publicUrl, privateUrl }
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Ends it without giving it a moment. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  #check(): void {
    for (const watch of this.#watchers) watch()
  }
}
