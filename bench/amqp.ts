/**
 * How fast the AMQP ingress is, against a RabbitMQ of its own on this machine: `npm run bench:amqp`.
 *   drain    messages a second from a pre-filled queue to stored and acked, beside a bare consumer that only acks
 *   latency  from the moment at which a message is due to be published to its arrival at a socket, at a steady rate
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import jwt from 'jsonwebtoken'
import { io } from 'socket.io-client'
import { type Broker, type Names, startBroker } from '../test/support/broker.ts'

const drained = 50_000
const rounds = 3
const latencyRate = 1000
const latencySeconds = 10
const warmUpSeconds = 2

const cli = fileURLToPath(new URL('../src/cli.ts', import.meta.url))
const secret = randomBytes(48).toString('base64url')
const body = (sentAt: number): Buffer => Buffer.from(JSON.stringify({ order: 42, state: 'shipped', total: '12.50', text: 'x'.repeat(100), sentAt }))

const stallMs = 30_000

const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

interface BenchedBridge {
  readonly publicUrl: string
  readonly privateUrl: string
  stop(): Promise<void>
}

async function startBridge(broker: Broker, { settings }: Names, directory: string, durability: 'disk' | 'process'): Promise<BenchedBridge> {
  const own = { PUBLIC_HOST: '127.0.0.1', PUBLIC_PORT: '0', PRIVATE_PORT: '0', JWT_SECRET: secret, DATA_DIR: directory, DRAIN_PERIOD: '0ms' }
  const values = Object.entries({ ...own, DURABILITY: durability, AMQP_URL: broker.url, ...settings })
  const env = { PATH: process.env.PATH, ...Object.fromEntries(values.map(([name, value]) => [`SIDECAST_${name}`, value])) }
  const profile = process.env.BENCH_PROFILE === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env.BENCH_PROFILE}`]
  const child: ChildProcess = spawn(process.execPath, [...profile, cli, 'serve'], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  children.add(child)
  const urls = await new Promise<{ readonly public: string; readonly private: string }>((resolve, reject) => {
    if (child.stdout === null) return
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said = JSON.parse(line)
      if (said.msg === 'ready') resolve(said)
    })
    ended.then(() => reject(new Error('the bridge does not start')))
  })
  for (const begun = performance.now(); ; await setTimeout(5)) {
    const answer = await fetch(`${urls.private}/readyz`)
    const checks = await answer.text()
    if (answer.status === 200) break
    if (performance.now() - begun > stallMs) throw new Error(`the bridge does not become ready: ${checks}`)
  }
  return {
    publicUrl: urls.public,
    privateUrl: urls.private,
    async stop() {
      child.kill('SIGTERM')
      await ended
      children.delete(child)
    },
  }
}

/** Queues of their own for each measurement, declared by a bridge: nothing that another has left behind is counted. */
async function declare(broker: Broker): Promise<Names> {
  const names = broker.names()
  await (await startBridge(broker, names, await mkdtemp(join(folder, 'declare-')), 'disk')).stop()
  return names
}

/** Publishes to a queue through its exchange until so many messages are confirmed. */
async function fill(broker: Broker, exchange: string): Promise<void> {
  const connection = await broker.connect()
  const channel = await connection.createConfirmChannel()
  const content = body(0)
  const run = randomBytes(4).toString('hex')
  for (let n = 0; n < drained; n++) {
    channel.publish(exchange, 'user.7.order.updated', content, { persistent: true, messageId: `${run}-${n}`, contentType: 'application/json' })
    if (n % 5000 === 0) await channel.waitForConfirms()
  }
  await channel.waitForConfirms()
  await connection.close()
}

/** Messages a second that a consumer takes which does nothing but ack each. */
async function drainBare(broker: Broker): Promise<number> {
  const { exchange, queue } = await declare(broker)
  await fill(broker, exchange)
  const connection = await broker.connect()
  const channel = await connection.createChannel()
  await channel.prefetch(250)
  let count = 0
  let begun = 0
  await new Promise<void>((resolve, reject) => {
    channel
      .consume(queue, (message) => {
        if (message === null) return
        if (count === 0) begun = performance.now()
        channel.ack(message)
        if (++count === drained) resolve()
      })
      .catch(reject)
  })
  // The broker has got the last ack as well.
  await channel.checkQueue(queue)
  const seconds = (performance.now() - begun) / 1000
  await connection.close()
  return drained / seconds
}

/** Messages a second that a bridge takes from the queue, stores and acks. */
async function drainByBridge(broker: Broker, durability: 'disk' | 'process'): Promise<number> {
  const names = await declare(broker)
  await fill(broker, names.exchange)
  const bridge = await startBridge(broker, names, await mkdtemp(join(folder, 'drain-')), durability)
  try {
    let first: { readonly at: number; readonly count: number } | undefined
    let progress = { at: performance.now(), count: 0 }
    for (;;) {
      const text = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
      const at = performance.now()
      const value = (name: string): number => Number(new RegExp(`^sidecast_amqp_${name} (\\S+)$`, 'm').exec(text)?.[1] ?? 0)
      const count = value('appended_total')
      if (count > 0) first ??= { at, count }
      if (count > progress.count) progress = { at, count }
      else if (at - progress.at > stallMs)
        throw new Error(`the bridge stopped after ${count} of ${drained} messages, ${value('unacked')} of them unacked`)
      if (first !== undefined && count >= drained && value('unacked') === 0) return ((count - first.count) * 1000) / (at - first.at)
      await setTimeout(100)
    }
  } finally {
    await bridge.stop()
  }
}

interface Latency {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** Open loop: each message has its moment, whether or not those before it have arrived, and its latency counts from that moment. In milliseconds. */
async function measureLatency(broker: Broker): Promise<Latency> {
  const names = broker.names()
  const bridge = await startBridge(broker, names, await mkdtemp(join(folder, 'latency-')), 'disk')
  const token = jwt.sign({ sub: '7', exp: Math.floor(Date.now() / 1000) + 3600 }, secret)
  const socket = io(bridge.publicUrl, { auth: { token }, transports: ['websocket'] })
  const connection = await broker.connect()
  try {
    await new Promise((resolve) => socket.once('sidecast:ready', resolve))
    const channel = await connection.createChannel()
    const count = latencyRate * (latencySeconds + warmUpSeconds)
    const latencies: number[] = []
    const arrived = new Promise<void>((resolve) => {
      socket.on('order.updated', ({ sentAt }: { readonly sentAt: number }) => {
        if (latencies.push(performance.now() - sentAt) === count) resolve()
      })
    })
    const begun = performance.now()
    for (let sent = 0; sent < count; ) {
      for (; sent < count; sent++) {
        const due = begun + (sent * 1000) / latencyRate
        if (due > performance.now()) break
        channel.publish(names.exchange, 'user.7.order.updated', body(due), { persistent: true, messageId: `latency-${sent}` })
      }
      await setTimeout(1)
    }
    const late = setTimeout(stallMs, 'late', { ref: false })
    if ((await Promise.race([arrived, late])) === 'late') throw new Error(`only ${latencies.length} of ${count} messages arrived`)
    const sorted = latencies.slice(latencyRate * warmUpSeconds).toSorted((a, b) => a - b)
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
    return { p50: at(0.5), p99: at(0.99), max: at(1) }
  } finally {
    socket.disconnect()
    await connection.close()
    await bridge.stop()
  }
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const folder = await mkdtemp(join(tmpdir(), 'sidecast-bench-'))
const broker = await startBroker()
try {
  const rates: { readonly bare: number[]; readonly disk: number[]; readonly process: number[] } = { bare: [], disk: [], process: [] }
  for (let round = 0; round < rounds; round++) {
    rates.bare.push(await drainBare(broker))
    for (const durability of ['disk', 'process'] as const) rates[durability].push(await drainByBridge(broker, durability))
  }
  const latency = await measureLatency(broker)

  const bare = median(rates.bare)
  console.table(
    Object.entries({
      'bare consumer that only acks': rates.bare,
      'bridge, durability disk': rates.disk,
      'bridge, durability process': rates.process,
    }).map(([what, each]) => ({
      [`drain of ${drained}`]: what,
      'messages/s (median)': Math.round(median(each)),
      'of bare': Number((median(each) / bare).toFixed(2)),
      rounds: each.map(Math.round).join(' '),
    })),
  )
  console.table([
    {
      latency: `${latencyRate}/s for ${latencySeconds} s, to one socket`,
      'p50 ms': Number(latency.p50.toFixed(2)),
      'p99 ms': Number(latency.p99.toFixed(2)),
      'max ms': Number(latency.max.toFixed(2)),
    },
  ])
  const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, load: loadavg()[0] }
  console.log(
    JSON.stringify({
      bench: 'amqp',
      machine,
      drain: { messages: drained, rates, ratio: { disk: median(rates.disk) / bare, process: median(rates.process) / bare } },
      latency: { rate: latencyRate, ...latency },
    }),
  )
} finally {
  await broker.close()
  await rm(folder, { recursive: true })
}
