import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import jwt from 'jsonwebtoken'
import { WebSocket } from 'ws'

/** Clients that connect at once, until the last of them is there. */
const width = 40

/** As the stock client does, but sooner: half of it to one and a half, and doubled up to the limit while it does not work. */
const firstRetryMs = 200
const maxRetryMs = 1000

interface Start {
  readonly url: string
  readonly secret: string
  readonly count: number
  /** What the names of its users begin with. */
  readonly name: string
}

/** What became of the clients, each of which expects the numbers from 0 on in the data of `numbered`. */
interface Report {
  readonly connected: number
  /** How many have got each number below this once and in order. */
  readonly complete: number
  /** The first few numbers that came when another one was due. */
  readonly wrong: readonly string[]
  readonly draining: number
  /** Returns that were no continuation. */
  readonly notRecovered: number
  /** When clients were back, in milliseconds since 1970. */
  readonly returns: readonly number[]
}

export interface Herd {
  /** What it is like when each client has got so many numbers. */
  complete(numbers: number): Promise<Report>
  [Symbol.asyncDispose](): Promise<void>
}

/** So many clients in a process of their own, who speak the protocol over WebSocket and come back. Resolves when all are connected. */
export async function startHerd(start: Start): Promise<Herd> {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), ['herd'])
  child.send(start)
  await once(child, 'message')
  return {
    async complete(numbers) {
      child.send({ numbers })
      const [report] = await once(child, 'message')
      return report as Report
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

if (process.argv[2] === 'herd') process.once('message', (start: Start) => keep(start))

function keep({ url, secret, count, name }: Start): void {
  const wrong: string[] = []
  const returns: number[] = []
  const next = new Array<number>(count).fill(0)
  let connected = 0
  let connectedOnce = 0
  let started = 0
  let draining = 0
  let notRecovered = 0
  let wanted: number | undefined
  const look = (): void => {
    if (wanted === undefined) return
    const numbers = wanted
    const complete = next.filter((number) => number >= numbers).length
    if (complete < count && wrong.length === 0) return
    wanted = undefined
    process.send?.({ connected, complete, wrong: wrong.slice(0, 10), draining, notRecovered, returns } satisfies Report)
  }
  process.on('message', ({ numbers }: { readonly numbers: number }) => {
    wanted = numbers
    look()
  })
  process.on('disconnect', () => process.exit())

  const startOne = (): void => {
    if (started < count) live(started++)
  }
  const live = (index: number): void => {
    const token = jwt.sign({ sub: `${name}-${index}` }, secret, { expiresIn: '1h' })
    let remembered: { readonly pid?: string; readonly offset?: string } = {}
    let wasConnected = false
    let retryMs = firstRetryMs
    const connect = (): void => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false })
      let isConnected = false
      socket.on('message', (bytes) => {
        const packet = String(bytes)
        if (packet.startsWith('0')) socket.send(`40${JSON.stringify({ token, ...remembered })}`)
        else if (packet === '2') socket.send('3')
        else if (packet.startsWith('40')) remembered = { ...remembered, pid: JSON.parse(packet.slice(2)).pid }
        else if (packet.startsWith('44')) socket.close()
        else if (packet.startsWith('42')) hear(JSON.parse(packet.slice(2)))
      })
      const hear = ([event, data, offset]: readonly [string, unknown, string]): void => {
        remembered = { ...remembered, offset }
        if (event === 'numbered') {
          if (data !== next[index]) wrong.push(`client ${index}: ${data} instead of ${next[index]}`)
          next[index] = Number(data) + 1
        } else if (event === 'sidecast:disconnect') draining++
        else if (event === 'sidecast:ready') ready(Object(data).recovered === true)
        look()
      }
      const ready = (recovered: boolean): void => {
        isConnected = true
        connected++
        retryMs = firstRetryMs
        if (wasConnected) {
          returns.push(Date.now())
          if (!recovered) notRecovered++
        } else {
          wasConnected = true
          startOne()
          if (++connectedOnce === count) process.send?.('connected')
        }
      }
      socket.on('error', () => undefined)
      socket.on('close', () => {
        if (isConnected) connected--
        setTimeout(connect, retryMs * (0.5 + Math.random()))
        retryMs = Math.min(2 * retryMs, maxRetryMs)
      })
    }
    connect()
  }
  for (let begun = 0; begun < width; begun++) startOne()
}
