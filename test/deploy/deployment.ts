import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../support/free-ports.ts'
import { startRedis } from '../support/redis.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
const example = new URL('../../examples/haproxy/haproxy.cfg', import.meta.url)

/** Attempts of 10 ms, after which whatever should have started has not. */
const maxTries = 3000

interface DeployedNode {
  readonly privateUrl: string
  /** SIGTERM, and another one in its place. Resolves when that is ready. */
  restart(): Promise<void>
}

/** Nodes on a Redis of their own, behind HAProxy with the configuration of examples/haproxy. Needs nothing of a test runner. */
export interface Deployment {
  readonly publicUrl: string
  readonly privateUrl: string
  readonly nodes: readonly DeployedNode[]
  readonly secret: string
  readonly apiKey: string
  /** The lines that the bridges and HAProxy have written. */
  readonly said: readonly string[]
  [Symbol.asyncDispose](): Promise<void>
}

export async function startDeployment(count: number, settings: Readonly<Record<string, string>> = {}): Promise<Deployment> {
  const secret = randomBytes(48).toString('base64url')
  const apiKey = randomBytes(32).toString('base64url')
  const said: string[] = []
  const closers: (() => Promise<unknown>)[] = []
  const close = async (): Promise<void> => {
    for (const closer of closers.reverse()) await closer()
  }
  try {
    const root = await mkdtemp(join(tmpdir(), 'sidecast-deployment-'))
    closers.push(() => rm(root, { recursive: true, force: true }))
    const redis = await startRedis()
    closers.push(() => redis.close())
    const [publicPort = 0, privatePort = 0, ...ports] = await freePorts(2 + 2 * count)
    const places = Array.from({ length: count }, (_, index) => ({ publicPort: ports[2 * index] ?? 0, privatePort: ports[2 * index + 1] ?? 0 }))
    const nodes = places.map((place, index): DeployedNode => {
      const env = environment({
        PUBLIC_HOST: '127.0.0.1',
        PUBLIC_PORT: String(place.publicPort),
        PRIVATE_PORT: String(place.privatePort),
        REDIS_URL: redis.url,
        JWT_SECRET: secret,
        API_KEYS: `test:${apiKey}:publish+read+admin`,
        DATA_DIR: join(root, `node-${index}`),
        LOG_LEVEL: 'warn',
        ...settings,
      })
      const privateUrl = `http://127.0.0.1:${place.privatePort}`
      let child = launch(process.execPath, [cli, 'serve'], said, env)
      closers.push(() => end(child, 'SIGKILL'))
      return {
        privateUrl,
        restart: async () => {
          await end(child, 'SIGTERM')
          child = launch(process.execPath, [cli, 'serve'], said, env)
          await answers(`${privateUrl}/readyz`, said)
        },
      }
    })
    for (const { privateUrl } of nodes) await answers(`${privateUrl}/readyz`, said)

    const file = join(root, 'haproxy.cfg')
    await writeFile(file, await exampleFor(places, publicPort, privatePort))
    const proxy = launch('haproxy', ['-db', '-f', file], said)
    closers.push(() => end(proxy, 'SIGKILL'))
    const privateUrl = `http://127.0.0.1:${privatePort}`
    await answers(`${privateUrl}/readyz`, said)
    return { publicUrl: `http://127.0.0.1:${publicPort}`, privateUrl, nodes, secret, apiKey, said, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

/** The example with other addresses, and nothing else. */
async function exampleFor(places: readonly { readonly publicPort: number; readonly privatePort: number }[], publicPort: number, privatePort: number) {
  const text = await readFile(example, 'utf8')
  const replaced = text
    .replace('bind :80\n', `bind 127.0.0.1:${publicPort}\n`)
    .replace(/bind "\S+:3001"\n/, `bind 127.0.0.1:${privatePort}\n`)
    .replace('check port 3001 ', 'check ')
    .replaceAll(/server node(\d) "\S+:(3000|3001)"/g, (_line, number: string, port: string) => {
      const place = places[Number(number) - 1]
      if (place === undefined) return `# no node ${number}`
      return `server node${number} 127.0.0.1:${port === '3000' ? `${place.publicPort} port ${place.privatePort}` : place.privatePort}`
    })
  if (/\b300[01]\b|bind :80\n/.test(replaced.replaceAll(/^ *#.*$/gm, '')))
    throw new Error(`the example has changed, and this does not know it any more:\n${replaced}`)
  return replaced
}

function environment(settings: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [`SIDECAST_${name}`, value])) }
}

function launch(program: string, args: readonly string[], said: string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', (line) => said.push(line))
  child.once('error', (error) => said.push(`${program}: ${error.message}`))
  // A test that was ended in the middle, by whatever, must not leave it behind: the shell reads until this process is gone.
  const guard = spawn('sh', ['-c', `cat >/dev/null; kill -9 ${child.pid}`], { stdio: ['pipe', 'ignore', 'ignore'] })
  child.once('exit', () => {
    guard.kill('SIGKILL')
    guard.stdin.destroy()
  })
  return child
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
}

async function answers(url: string, said: readonly string[]): Promise<void> {
  for (let tries = 0; tries < maxTries; tries++) {
    const status = await fetch(url).then(
      async (response) => {
        await response.arrayBuffer()
        return response.status
      },
      () => 0,
    )
    if (status === 200) return
    await setTimeout(10)
  }
  throw new Error(`${url} does not become ready:\n${said.join('\n')}`)
}
