/**
 * How a fan-out to one big room gets faster with workers: `npm run bench:workers`. The clients, which only count frames, and the publisher share the machine
 * with the bridge: the numbers are ratios, and the cores that each has used say what was scarce.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import jwt from 'jsonwebtoken'

const sessions = 800
const events = 600
const batch = 50
const clientProcesses = 2
const room = 'hall'

const secret = randomBytes(48).toString('base64url')
const apiKey = randomBytes(32).toString('base64url')
const cli = fileURLToPath(new URL('../src/cli.ts', import.meta.url))

interface Start {
  readonly port: number
  /** One for each client. */
  readonly tokens: readonly string[]
}

if (process.send === undefined) await measure()
else process.once('message', (start: Start) => receive(start))

async function measure(): Promise<void> {
  console.log(`${sessions} sessions in one room, ${events} events of about 200 bytes, ${availableParallelism()} cores for all`)
  let one: number | undefined
  for (const workers of [1, 2, 4]) {
    const { perSecond, shares } = await run(workers)
    one ??= perSecond
    console.log(
      `${workers} ${workers === 1 ? 'process ' : 'workers '} ${Math.round(perSecond / 1000)}k frames/s  x${(perSecond / one).toFixed(2)}   cores used: ${shares}`,
    )
  }
}

async function run(workers: number): Promise<{ readonly perSecond: number; readonly shares: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-bench-'))
  const bridge = spawn(process.execPath, [cli, 'serve'], {
    env: {
      PATH: process.env.PATH,
      SIDECAST_WORKERS: String(workers),
      SIDECAST_JWT_SECRET: secret,
      SIDECAST_API_KEYS: `bench:${apiKey}:publish`,
      SIDECAST_PUBLIC_HOST: '127.0.0.1',
      SIDECAST_PUBLIC_PORT: '0',
      SIDECAST_PRIVATE_PORT: '0',
      SIDECAST_DATA_DIR: directory,
      SIDECAST_DURABILITY: 'process',
      SIDECAST_DRAIN_PERIOD: '0ms',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const clients: ChildProcess[] = []
  try {
    const urls = await ready(bridge)
    const port = Number(new URL(urls.public).port)
    for (let index = 0; index < clientProcesses; index++) {
      const client = fork(fileURLToPath(import.meta.url))
      clients.push(client)
      const tokens = Array.from({ length: sessions / clientProcesses }, (_, user) =>
        jwt.sign({ sub: `${index}-${user}`, rooms: [room] }, secret, { expiresIn: '1h' }),
      )
      client.send({ port, tokens } satisfies Start)
    }
    await Promise.all(clients.map((client) => once(client, 'message')))

    const pids = { bridge: [bridge.pid ?? 0], workers: await childrenOf(bridge.pid ?? 0), clients: clients.map(({ pid = 0 }) => pid) }
    const before = await cpuOf(pids)
    const done = Promise.all(clients.map((client) => once(client, 'message')))
    const start = performance.now()
    for (let sent = 0; sent < events; sent += batch) await publish(urls.private)
    await done
    const seconds = (performance.now() - start) / 1000
    const after = await cpuOf(pids)
    const shares = Object.keys(pids).map((name) => `${name} ${(((after[name] ?? 0) - (before[name] ?? 0)) / seconds).toFixed(2)}`)
    return { perSecond: (events * sessions) / seconds, shares: shares.join(', ') }
  } finally {
    for (const client of clients) client.kill()
    bridge.kill('SIGKILL')
    await once(bridge, 'close')
    await rm(directory, { recursive: true })
  }
}

function ready(bridge: ChildProcess): Promise<{ readonly public: string; readonly private: string }> {
  return new Promise((resolve, reject) => {
    if (bridge.stdout === null) return
    createInterface({ input: bridge.stdout }).on('line', (line) => {
      const said = JSON.parse(line)
      if (said.msg === 'ready') resolve(said)
    })
    bridge.once('exit', () => reject(new Error('the bridge does not start')))
  })
}

async function publish(url: string): Promise<void> {
  const one = { event: 'tick', data: { filling: 'x'.repeat(150) }, to: { rooms: [room] } }
  const response = await fetch(`${url}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ events: Array.from({ length: batch }, () => one) }),
  })
  if (response.status !== 202) throw new Error(await response.text())
  await response.arrayBuffer()
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}

/** Seconds that the processes, with all their threads, have used. */
async function cpuOf(groups: Readonly<Record<string, readonly number[]>>): Promise<Readonly<Record<string, number>>> {
  const one = async (pid: number): Promise<number> => {
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  }
  const entries = Object.entries(groups).map(async ([name, pids]) => [name, (await Promise.all(pids.map(one))).reduce((a, b) => a + b, 0)] as const)
  return Object.fromEntries(await Promise.all(entries))
}

/** A process full of clients that speak just enough of the protocol, and count. */
function receive({ port, tokens }: Start): void {
  const count = tokens.length
  let connected = 0
  let frames = 0
  const onFrame = (isEvent: boolean): void => {
    if (!isEvent) {
      if (++connected === count) process.send?.('connected')
    } else if (++frames === count * events) process.send?.('done')
  }
  for (const token of tokens) connectRaw(port, token, onFrame)
}

function connectRaw(port: number, token: string, onFrame: (isEvent: boolean) => void): void {
  const socket = connect({ host: '127.0.0.1', port })
  const headers = `Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}`
  socket.write(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${headers}\r\n\r\n`)
  let rest = Buffer.alloc(0)
  let upgraded = false
  socket.on('data', (chunk) => {
    let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    if (!upgraded) {
      const end = bytes.indexOf('\r\n\r\n')
      rest = bytes
      if (end === -1) return
      upgraded = true
      bytes = bytes.subarray(end + 4)
      socket.write(maskedText(`40${JSON.stringify({ token })}`))
    }
    while (bytes.length >= 4) {
      const short = (bytes[1] ?? 0) & 0x7f
      const head = short === 126 ? 4 : 2
      const length = short === 126 ? bytes.readUInt16BE(2) : short
      if (bytes.length < head + length) break
      // 42["tick",…] and 42["sidecast:ready",…]; all else is of no interest.
      if (bytes[head] === 0x34 && bytes[head + 1] === 0x32) onFrame(bytes[head + 4] === 0x74)
      bytes = bytes.subarray(head + length)
    }
    rest = Buffer.from(bytes)
  })
}

/** With a mask of zeros, which leaves the text as it is. */
function maskedText(text: string): Buffer {
  const head =
    text.length < 126
      ? Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0])
      : Buffer.from([0x81, 0xfe, text.length >> 8, text.length & 0xff, 0, 0, 0, 0])
  return Buffer.concat([head, Buffer.from(text)])
}
