import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, expect } from 'vitest'

const script = fileURLToPath(new URL('log-process.ts', import.meta.url))
const running = new Set<LogProcess>()

/** Another process with a log; queues what it says. */
export class LogProcess {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>
  readonly #ended: Promise<unknown>

  constructor(
    directory: string,
    options: { readonly durability?: 'disk' | 'process'; readonly retentionEvents?: number; readonly user?: number } = {},
  ) {
    const { durability = 'disk', retentionEvents = 1e9, user } = options
    this.#child = spawn(process.execPath, [
      '--no-warnings',
      script,
      directory,
      durability,
      String(retentionEvents),
      ...(user === undefined ? [] : [String(user)]),
    ])
    this.#ended = once(this.#child, 'close')
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
    // LMDB prints what the disk refused; the answers say it too.
    this.#child.stderr.resume()
    // It may be killed while it is told something.
    this.#child.stdin.on('error', () => undefined)
    running.add(this)
  }

  tell(command: string): void {
    this.#child.stdin.write(`${command}\n`)
  }

  /** What it says next; undefined when it has ended. Half a line is what a killed process leaves. */
  async said(): Promise<Readonly<Record<string, unknown>> | undefined> {
    const { value, done } = await this.#lines.next()
    if (done === true) return undefined
    try {
      return JSON.parse(value)
    } catch {
      return undefined
    }
  }

  async ask(command: string): Promise<unknown> {
    this.tell(command)
    return (await this.said())?.[command.split(' ')[0] ?? '']
  }

  /** The soft limit on the size of any file that it writes: how a disk is full for one process, without any right. */
  limitFileSize(bytes: number | 'unlimited'): void {
    execFileSync('prlimit', [`--fsize=${bytes}:`, '--pid', String(this.#child.pid)])
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  stop(): void {
    this.#child.kill('SIGSTOP')
  }

  async end(): Promise<void> {
    this.kill()
    await this.#ended
    running.delete(this)
  }
}

afterEach(async () => {
  const left = [...running]
  await Promise.all(left.map((process) => process.end()))
  expect(running.size).toBe(0)
})
