/**
 * What a flood of bad tokens costs a user who is logged in: `npm run bench:bad-tokens`. A bridge, and the flood, each in a process of its own. The flood at
 * another process says how much of it is the machine, which has to do with both.
 * Latency is from the moment at which an event is due to be published over HTTP to its arrival at the user's socket.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { availableParallelism, constants, cpus, loadavg, setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import jwt from 'jsonwebtoken'
import { io } from 'socket.io-client'

const eventsPerSecond = Number(process.env.BENCH_EVENTS ?? 200)
const seconds = Number(process.env.BENCH_SECONDS ?? 10)
const rate = Number(process.env.BENCH_FLOOD ?? 3000)
const manyAddresses = 1000
const rounds = 2

const secret = randomBytes(48).toString('base64url')
const apiKey = randomBytes(32).toString('base64url')
const folder = await mkdtemp(join(tmpdir(), 'sidecast-bench-'))
const children: ChildProcess[] = []
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

function start(file: string, args: readonly string[], env: Readonly<Record<string, string>>, stdin: 'ignore' | 'pipe'): ChildProcess {
  const path = fileURLToPath(new URL(file, import.meta.url))
  const profile = process.env.BENCH_PROFILE === undefined || stdin === 'pipe' ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env.BENCH_PROFILE}`]
  const child = spawn(process.execPath, [...profile, path, ...args], { env: { PATH: process.env.PATH, ...env }, stdio: [stdin, 'pipe', 'inherit'] })
  children.push(child)
  return child
}

async function* linesOf({ stdout }: ChildProcess): AsyncGenerator<Readonly<Record<string, unknown>>> {
  if (stdout === null) return
  for await (const line of createInterface({ input: stdout })) yield JSON.parse(line)
}

const settings = {
  PUBLIC_HOST: '127.0.0.1',
  PUBLIC_PORT: '0',
  PRIVATE_PORT: '0',
  JWT_SECRET: secret,
  API_KEYS: `bench:${apiKey}:publish`,
  DATA_DIR: folder,
  DRAIN_PERIOD: '0ms',
  // The disk is not what is measured.
  DURABILITY: 'process',
}
const bridge = start(
  '../src/cli.ts',
  ['serve'],
  Object.fromEntries(Object.entries(settings).map(([name, value]) => [`SIDECAST_${name}`, value])),
  'ignore',
)
let urls: { readonly public: string; readonly private: string } | undefined
const said = linesOf(bridge)
while (urls === undefined) {
  const { value } = await said.next()
  if (value === undefined) throw new Error('the bridge does not start')
  if (value.msg === 'ready') urls = { public: String(value.public), private: String(value.private) }
}
// What it logs of the flood is read, and thrown away.
void (async () => {
  for await (const line of said) if (Number(line.level) >= 50) console.error(JSON.stringify(line))
})()
const { public: publicUrl, private: privateUrl } = urls

const flooder = start('./token-flood.ts', [], {}, 'pipe')
// As if it were on another machine: it is not to take what the bridge needs.
if (flooder.pid !== undefined) setPriority(flooder.pid, constants.priority.PRIORITY_LOW)
const answers = linesOf(flooder)
const neighbour = start('./bare-server.ts', [], {}, 'pipe')
const { value: listening } = await linesOf(neighbour).next()
const neighbourUrl = `http://127.0.0.1:${String(listening?.port)}`

/** Milliseconds that each event took. The second half of 127/8 is nobody's but the user's and the publisher's. */
const latencies: number[] = []
const localAddress = '127.200.0.1'
const token = jwt.sign({ sub: '42', exp: Math.floor(Date.now() / 1000) + 3600 }, secret)
const socket = io(publicUrl, { auth: { token }, transports: ['websocket'], localAddress } as Parameters<typeof io>[1])
socket.on('tick', ({ dueAt }: { readonly dueAt: number }) => latencies.push(performance.now() - dueAt))
await new Promise((resolve) => socket.once('sidecast:ready', resolve))

const agent = new Agent({ keepAlive: true, localAddress })
function publish(dueAt: number): void {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
  const call = request(`${privateUrl}/v1/events`, { method: 'POST', agent, headers }, (response) => response.resume())
  call.on('error', (error) => {
    throw error
  })
  call.end(JSON.stringify({ event: 'tick', data: { dueAt }, to: { users: ['42'] } }))
}

interface Latency {
  readonly p50: number
  readonly p99: number
}

/** Publishes at a steady rate: an event that is late because the one before was counts from when it was due. */
async function measure(): Promise<Latency> {
  latencies.length = 0
  const begun = performance.now()
  const count = seconds * eventsPerSecond
  for (let n = 0; n < count; n++) {
    const dueAt = begun + (n * 1000) / eventsPerSecond
    const wait = dueAt - performance.now()
    if (wait > 1) await setTimeout(wait)
    publish(dueAt)
  }
  while (latencies.length < count) await setTimeout(5)
  const sorted = latencies.toSorted((one, two) => one - two)
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
  return { p50: at(0.5), p99: at(0.99) }
}

async function underFlood(url: string, addresses: number): Promise<Latency & { readonly flood: string }> {
  flooder.stdin?.write(`${JSON.stringify({ url, rate, addresses, seconds: seconds + 2 })}\n`)
  await setTimeout(1000)
  const latency = await measure()
  const { value } = await answers.next()
  return { ...latency, flood: JSON.stringify(value) }
}

const print = (what: string, { p50, p99 }: Latency, than?: Latency): void => {
  const ratio = than === undefined ? '' : `   x${(p50 / than.p50).toFixed(2)} x${(p99 / than.p99).toFixed(2)}`
  console.log(`${what.padEnd(34)} p50 ${p50.toFixed(2).padStart(7)} ms   p99 ${p99.toFixed(2).padStart(7)} ms${ratio}`)
}

console.log(`${cpus()[0]?.model}, ${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`)
console.log(`${eventsPerSecond} events/s to one user for ${seconds} s; ${rate} bad logins/s are tried, half over WebSocket, half over polling`)
await measure()
const floods = [
  ['flood at another process', neighbourUrl, 1],
  ['flood from 1 address', publicUrl, 1],
  [`flood from ${manyAddresses} addresses`, publicUrl, manyAddresses],
] as const
for (let round = 1; round <= rounds; round++) {
  const quiet = await measure()
  print('without a flood', quiet)
  for (const [what, url, addresses] of floods) {
    const { flood, ...latency } = await underFlood(url, addresses)
    print(what, latency, quiet)
    console.log(`  ${flood}`)
  }
}

socket.disconnect()
agent.destroy()
flooder.stdin?.end()
for (const child of [bridge, neighbour]) child.kill('SIGTERM')
await Promise.all(children.map((child) => once(child, 'exit')))
await rm(folder, { recursive: true })
