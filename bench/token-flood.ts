/**
 * Logs in with tokens that nobody has signed, as fast as it is told: the other side of bad-tokens.ts, in a process of its own.
 * Each line of stdin is a flood, `{ "url", "rate", "addresses", "seconds" }`; each is answered with a line of what came of it.
 */
import { hash, randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import jwt from 'jsonwebtoken'

interface Flood {
  readonly url: string
  /** Logins a second. */
  readonly rate: number
  /** How many addresses of this machine they come from; the first is that of everybody else. */
  readonly addresses: number
  readonly seconds: number
}

const maxUnderWay = 2000
const stepMs = 5

const foreignKey = randomBytes(48)
const token = jwt.sign({ sub: '7', exp: Math.floor(Date.now() / 1000) + 3600, rooms: ['a', 'b:*'] }, foreignKey)
const connectPacket = `40${JSON.stringify({ token })}`

/** A text frame as a client masks it (RFC 6455 5.3). */
function frame(text: string): Buffer {
  const body = Buffer.from(text)
  const mask = randomBytes(4)
  const head = Buffer.from([0x81, 0x80 | 126, body.length >> 8, body.length & 0xff])
  return Buffer.concat([head, mask, body.map((byte, index) => byte ^ (mask[index % 4] ?? 0))])
}

const webSocketKey = hash('sha1', 'flood', 'base64').slice(0, 22)
const upgrade = `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: flood\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${webSocketKey}==\r\n\r\n`
const loginFrame = frame(connectPacket)
const poll = (method: string, sid = '', body = ''): string =>
  `${method} /socket.io/?EIO=4&transport=polling${sid} HTTP/1.1\r\nHost: flood\r\nContent-Length: ${body.length}\r\n\r\n${body}`

const outcomes = new Map<string, number>()
const underWay = new Set<Socket>()

function attempt(url: URL, index: number, addresses: number): void {
  const localAddress = `127.0.${Math.floor((index % addresses) / 250)}.${((index % addresses) % 250) + 1}`
  const socket = connect({ host: url.hostname, port: Number(url.port), localAddress, noDelay: true })
  underWay.add(socket)
  const end = (outcome: string): void => {
    if (!underWay.delete(socket)) return
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    // Without TIME_WAIT, or the ports of an address are used up in seconds.
    socket.resetAndDestroy()
  }
  socket.setTimeout(5000, () => end('no answer'))
  socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'cut off')).on('close', () => end('cut off'))
  socket.setEncoding('latin1')
  let step = 0
  const isWebSocket = index % 2 === 0
  socket.write(isWebSocket ? upgrade : poll('GET'))
  socket.on('data', (data: string) => {
    const code = /rate_limited|token_signature/.exec(data)?.[0]
    if (code !== undefined) end(code)
    else if (isWebSocket && step++ === 0) socket.write(loginFrame)
    else if (!isWebSocket && step++ < 2) {
      const sid = /"sid":"([^"]+)"/.exec(data)?.[1]
      if (step === 1 && sid !== undefined) {
        const query = `&sid=${encodeURIComponent(sid)}`
        socket.write(poll('POST', query, connectPacket) + poll('GET', query))
      }
    }
  })
}

for await (const line of createInterface({ input: process.stdin })) {
  const { url, rate, addresses, seconds }: Flood = JSON.parse(line)
  outcomes.clear()
  const begun = performance.now()
  let made = 0
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsed = performance.now() - begun
      const due = Math.floor((Math.min(elapsed, seconds * 1000) * rate) / 1000)
      for (; made < due && underWay.size < maxUnderWay; made++) attempt(new URL(url), made, addresses)
      if (elapsed < seconds * 1000) return
      clearInterval(timer)
      resolve()
    }, stepMs)
  })
  const left = [...underWay]
  underWay.clear()
  for (const socket of left) socket.resetAndDestroy()
  const took = (performance.now() - begun) / 1000
  const answered = Object.fromEntries([...outcomes].map(([outcome, count]) => [outcome, Math.round(count / took)]))
  process.stdout.write(`${JSON.stringify({ perSecond: Math.round(made / took), answered })}\n`)
}
