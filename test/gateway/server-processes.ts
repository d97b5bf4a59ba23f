import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { testEnvironment } from '../support/bridge.ts'

const script = fileURLToPath(new URL('server-process.ts', import.meta.url))

/** A server in another process. */
export interface ServerProcess {
  readonly publicUrl: string
  readonly privateUrl: string
  readonly directory: string
  ask(question: 'memory' | 'sockets' | 'middlewareRuns' | 'snapshot', argument?: string): Promise<unknown>
  /** Bytes that it holds, after a garbage collection. */
  memory(): Promise<number>
  [Symbol.asyncDispose](): Promise<void>
}

export async function startServerProcess(kind: 'bridge' | 'stock', settings: Readonly<Record<string, string>> = {}): Promise<ServerProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-process-'))
  const child = fork(script, [kind, directory], {
    execArgv: ['--expose-gc', '--no-warnings'],
    env: { ...withoutOurs(), ...testEnvironment(directory, settings) },
  })
  const said: unknown[] = []
  const waiting: (() => void)[] = []
  const wake = (): void => {
    for (const resolve of waiting.splice(0)) resolve()
  }
  child
    .on('message', (message) => {
      said.push(message)
      wake()
    })
    .on('exit', wake)
  const next = async (): Promise<unknown> => {
    while (said.length === 0) {
      if (child.exitCode !== null) throw new Error(`the server process has ended with ${child.exitCode}`)
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
    return said.shift()
  }
  const urls = (await next()) as { readonly publicUrl: string; readonly privateUrl: string }
  const ask: ServerProcess['ask'] = async (question, argument = '') => {
    child.send({ question, argument })
    return ((await next()) as { readonly answer: unknown }).answer
  }
  return {
    ...urls,
    directory,
    ask,
    memory: async () => Number(await ask('memory')),
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
      await rm(directory, { recursive: true })
    },
  }
}

function withoutOurs(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SIDECAST_')))
}
