/**
 * Everything on this machine: the bridge (as `sidecast serve` runs it) on the embedded log, and a demo application with a page to try it.
 * What must outlive a restart is kept in .quickstart/: the secret, the key and the events. `--help` says how it is called.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join, relative } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { createDemoServer, signLogin } from './demo-server.ts'
import { divideEnvironment, Misuse, parseQuickstartCall, quickstartHelp } from './quickstart-call.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const loopback = '127.0.0.1'
const readyTimeoutMs = 30_000

const flags = readCall()
const { passed, unused } = divideEnvironment(process.env)

mkdirSync(flags.directory, { recursive: true, mode: 0o700 })
const jwtSecret = keptSecret(join(flags.directory, 'jwt-secret'))
const apiKey = keptSecret(join(flags.directory, 'api-key'))
const logFile = join(flags.directory, 'bridge.log')

await holdFolder()

const publicPort = await freePort('the bridge', flags.port, [])
const privatePort = await freePort('the ingress', flags.port + 1, [publicPort])
const demoPort = await freePort('the demo page', flags.demoPort, [publicPort, privatePort])

const demo = createDemoServer({ publicPort, privatePort, jwtSecret, apiKey })
demo.listen(demoPort, loopback)
await once(demo, 'listening')

const bridge = startBridge()
let stoppedAt: number | undefined
bridge.once('exit', (code, signal) => {
  if (stoppedAt === undefined) giveUp(`The bridge stopped (${signal ?? `exit code ${code}`})`)
})
// A crash of this program must not leave a bridge behind.
process.once('exit', () => bridge.kill('SIGKILL'))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)

await bridgeReady()
print()

function readCall() {
  try {
    const call = parseQuickstartCall(process.argv.slice(2))
    if (call !== undefined) return call
    process.stdout.write(`${quickstartHelp}\n`)
    process.exit(0)
  } catch (error) {
    if (!(error instanceof Misuse)) throw error
    process.stderr.write(`quickstart: ${error.message} (--help says more)\n`)
    process.exit(2)
  }
}

/** Two bridges cannot share the events. The socket is gone with its process, however that ends; the file that names it may stay. */
async function holdFolder(): Promise<void> {
  const holder = createServer((connection) => connection.destroy())
  const path = join(flags.directory, 'running.sock')
  const probe = connect(path)
  const isHeld = await once(probe, 'connect').then(
    () => true,
    () => false,
  )
  probe.destroy()
  if (isHeld) {
    process.stderr.write('A quickstart already runs in this folder: stop it, or npm run quickstart:run -- --dir .quickstart2\n')
    process.exit(1)
  }
  rmSync(path, { force: true })
  holder.listen(path)
  // Where the path is too long for a socket, the bridge is still the one that refuses the folder.
  await once(holder, 'listening').catch(() => undefined)
  holder.unref()
}

/** The secret in a file that only its owner may read; made at the first start. */
function keptSecret(path: string): string {
  try {
    // Fails when there is one: two starts at once must not end with two secrets.
    writeFileSync(path, randomBytes(48).toString('base64url'), { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  return readFileSync(path, 'utf8').trim()
}

async function freePort(what: string, wanted: number, taken: readonly number[]): Promise<number> {
  for (let port = wanted; port < Math.min(wanted + 100, 65_536); port++) {
    if (taken.includes(port) || !(await isFree(port))) continue
    if (port !== wanted) process.stdout.write(`Port ${wanted} is taken: ${what} uses ${port}.\n`)
    return port
  }
  process.stderr.write(`quickstart: there is no free port from ${wanted} on for ${what}; choose another with --port, --demo-port\n`)
  process.exit(1)
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer()
  try {
    probe.listen(port, loopback)
    await once(probe, 'listening')
    return true
  } catch {
    return false
  } finally {
    probe.close()
  }
}

/** Exactly what a deployment runs, configured by its environment. */
function startBridge(): ChildProcess {
  // What is set for another bridge must not configure this one.
  const foreign = Object.entries(process.env).filter(([name]) => !name.startsWith('SIDECAST_'))
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(process.execPath, [join(root, 'src/cli.ts'), 'serve'], {
    env: {
      ...Object.fromEntries(foreign),
      ...passed,
      SIDECAST_PUBLIC_HOST: loopback,
      SIDECAST_PUBLIC_PORT: String(publicPort),
      SIDECAST_PRIVATE_HOST: loopback,
      SIDECAST_PRIVATE_PORT: String(privatePort),
      SIDECAST_ALLOWED_ORIGINS: `http://${loopback}:${demoPort},http://localhost:${demoPort}`,
      SIDECAST_JWT_SECRET: jwtSecret,
      SIDECAST_API_KEYS: `quickstart:${apiKey}:publish+read+admin`,
      SIDECAST_DATA_DIR: join(flags.directory, 'data'),
    },
    stdio: ['ignore', log, log],
    // Its own process group: Ctrl-C reaches this program alone, which then lets the bridge drain.
    detached: true,
  })
  closeSync(log)
  return child
}

/** The end of the bridge's log, without the JSON around it. */
function lastWords(): string {
  const lines = readFileSync(logFile, 'utf8').trim().split('\n').slice(-12)
  return lines.map((line) => /"msg":"(.*)"}$/.exec(line)?.[1] ?? line).join('\n')
}

async function bridgeReady(): Promise<void> {
  const deadline = AbortSignal.timeout(readyTimeoutMs)
  while (!deadline.aborted) {
    const response = await fetch(`http://${loopback}:${privatePort}/readyz`).catch(() => undefined)
    if (response?.ok) return
    await delay(50)
  }
  giveUp(`The bridge was not ready within ${readyTimeoutMs / 1000} s`)
}

function giveUp(why: string): never {
  process.stderr.write(`\n${why}:\n\n${lastWords()}\n\n${logFile} has all of it.\n`)
  process.exit(1)
}

function stop(): void {
  const now = performance.now()
  // Ctrl-C comes from the terminal and from each npm above this program.
  if (stoppedAt !== undefined && now - stoppedAt < 500) return
  // The second Ctrl-C does not wait.
  if (stoppedAt !== undefined) process.exit(130)
  stoppedAt = now
  process.stdout.write('\nStopping …\n')
  demo.close()
  demo.closeAllConnections()
  bridge.once('exit', () => {
    process.stdout.write('Stopped. Events, secret and key are kept: the next start goes on from here.\n')
    process.exit(0)
  })
  bridge.kill('SIGTERM')
}

function print(): void {
  const rooms = ['news', 'order:*']
  const { token } = signLogin(jwtSecret, '42', rooms, { seconds: 12 * 3600 })
  const body = JSON.stringify({ event: 'order.updated', data: { order: 7, status: 'shipped' }, to: { users: ['42'] } })
  const address = `http://${loopback}:${privatePort}/v1/events`
  const curl = `curl -sS ${address} -H 'Authorization: Bearer ${apiKey}' -H 'Content-Type: application/json' -d '${body}'`
  const title = (text: string) => styleText('bold', text)
  const faint = (text: string) => styleText('dim', text)
  process.stdout.write(`
${styleText(['bold', 'green'], 'Sidecast is running.')}

${title('1. Open the demo page')}
   http://${loopback}:${demoPort}

${title('2. Publish to user 42')}, as your backend would: paste this into another terminal
${curl}

${title('3. Connect from your own code')} with this login token of user 42 ${faint(`(rooms ${rooms.join(', ')}; valid for 12 hours)`)}
${token}

   Browsers   http://${loopback}:${publicPort}   ${faint('Socket.IO')}
   Backends   http://${loopback}:${privatePort}   ${faint('HTTP, documented at /docs')}
   Kept in    ${relative(process.cwd(), flags.directory) || '.'}   ${faint('events, development secret and key, bridge.log')}
${ofEnvironment()
  .map((line) => `${line}\n`)
  .join('')}
Ctrl-C stops it; what is kept survives a restart.
`)
}

/** What of the environment counts, and what does not. */
function ofEnvironment(): readonly string[] {
  const names = Object.keys(passed)
  const { SIDECAST_AMQP_URL: url = '' } = passed
  const place = URL.canParse(url) ? `${new URL(url).host}${new URL(url).pathname}` : 'from the environment'
  return [
    ...(names.length === 0 ? [] : [`   RabbitMQ   ${place}   ${styleText('dim', names.join(', '))}`]),
    ...(unused.length === 0 ? [] : [`   Not used   ${unused.join(', ')}   ${styleText('dim', 'the quickstart sets its own; npm start reads them')}`]),
  ]
}
