import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../support/free-ports.ts'

/** What the bridge signs its questions with in the tests. */
export const authorizeSecret = `whsec_${randomBytes(32).toString('base64')}`

/** A question as the application has got it. */
interface Question {
  readonly path: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface PhpApplication {
  readonly url: string
  /** All that was asked so far. */
  questions(): Promise<readonly Question[]>
  /** Logs a user in; the session cookie as a browser would send it. */
  login(user: string): Promise<string>
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** application.php in a PHP of its own. Again with the address of one that was stopped: it goes on with its sessions. */
export async function startPhpApplication(port?: number): Promise<PhpApplication> {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-php-'))
  const notes = join(directory, 'notes')
  const address = `127.0.0.1:${port ?? (await freePorts(1))[0]}`
  const script = fileURLToPath(new URL('application.php', import.meta.url))
  const child = spawn('php', ['-d', `session.save_path=${directory}`, '-d', 'display_errors=0', '-S', address, script], {
    env: { PATH: process.env.PATH, NOTES: notes, SIDECAST_AUTHORIZE_SECRET: authorizeSecret, PHP_CLI_SERVER_WORKERS: '4' },
    // A group of its own, which its workers are in.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await started(child)
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
    const closed = once(child, 'close')
    process.kill(-child.pid, 'SIGKILL')
    await closed
  }
  const url = `http://${address}`
  return {
    url,
    async questions() {
      const text = await readFile(notes, 'utf8').catch(() => '')
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line): Question => JSON.parse(line))
    },
    async login(user) {
      const { cookie } = (await (await fetch(`${url}/login?user=${encodeURIComponent(user)}`)).json()) as { readonly cookie: string }
      return cookie
    },
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
      await rm(directory, { recursive: true })
    },
  }
}

async function started({ stderr }: ChildProcess): Promise<void> {
  if (stderr === null) throw new Error('PHP has no error output')
  const lines = createInterface({ input: stderr })
  for await (const line of lines) {
    if (!line.includes('started')) continue
    stderr.resume()
    return
  }
  throw new Error('PHP ended before it listened')
}
