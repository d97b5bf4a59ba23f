import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The quickstart as a program of its own, after it has printed all that it prints. */
export interface Quickstart {
  readonly output: string
  /** The parts of the output that a reader copies. */
  readonly page: string
  readonly curl: string
  readonly token: string
  readonly bridge: string
  readonly directory: string
  /** Ctrl-C. Resolves with the exit code and what was printed since. */
  stop(): Promise<{ readonly exitCode: number | null; readonly output: string }>
  [Symbol.asyncDispose](): Promise<void>
}

/** With `directory` it goes on with what is kept there. `settings`: of the environment, without SIDECAST_. */
export async function startQuickstart(
  ports: { readonly port: number; readonly demoPort: number },
  directory?: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<Quickstart> {
  const kept = directory ?? (await mkdtemp(join(tmpdir(), 'sidecast-quickstart-')))
  const file = fileURLToPath(new URL('../../examples/quickstart.ts', import.meta.url))
  const args = [file, '--dir', kept, '--port', String(ports.port), '--demo-port', String(ports.demoPort)]
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('SIDECAST_'))
  const given = Object.entries(settings).map(([name, value]) => [`SIDECAST_${name}`, value])
  const child = spawn(process.execPath, args, {
    // A setting of another bridge, which must not matter.
    env: { ...Object.fromEntries([...others, ...given]), NO_COLOR: '1', SIDECAST_PUBLIC_PORT: 'nonsense' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const closed = once(child, 'close')
  let output = ''
  const started = new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
        if (output.includes('Ctrl-C stops it')) resolve()
      })
    }
    child.once('close', () => reject(new Error(`the quickstart ended before it was ready:\n${output}`)))
  })
  await started

  const part = (pattern: RegExp): string => pattern.exec(output)?.[1] ?? `${pattern} is not in the output`
  const shown = output
  const stop = async () => {
    child.kill('SIGINT')
    await closed
    return { exitCode: child.exitCode, output: output.slice(shown.length) }
  }
  return {
    output: shown,
    page: part(/demo page\n\s+(http:\S+)/),
    curl: part(/^(curl .*)$/m),
    token: part(/^(eyJ\S+)$/m),
    bridge: part(/Browsers\s+(http:\S+)/),
    directory: kept,
    stop,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null) await stop()
      if (directory === undefined) await rm(kept, { recursive: true })
    },
  }
}
