import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

export interface RawSessionOptions {
  readonly localAddress: string
  readonly token: string
  /** What counts as connected: Socket.IO's own answer, or Sidecast's first word after everything missed. */
  readonly readyBy: 'connect' | 'sidecast:ready'
  /** Whether what a resume needs is kept. */
  readonly isResumable: boolean
  /** The last that it has seen, by its own account; for a first connection. */
  readonly offset?: string
  readonly onReady: () => void
  /** An event, by its number and the moment at which it was due. */
  readonly onEvent: (number: number, dueAt: number) => void
  /** The connection could not be made, or has been lost; not after `cut`. */
  readonly onLost: () => void
}

// The start of every event of the load: 42["tick",{"n":
const numberAt = 15
const dueSkip = ',"at":'.length
const key = randomBytes(16).toString('base64')

/**
 * As little of a Socket.IO client as counts: it looks at each frame, and makes no objects of them.
 * It can be cut and opened again, and then resumes as the stock client does.
 */
export class RawSession {
  readonly #options: RawSessionOptions
  #socket: Socket | undefined
  #rest: Buffer | undefined
  #isUpgraded = false
  #isReady = false
  #pid: string | undefined
  /** The last event, whose end is the offset. */
  #last: Buffer | undefined

  constructor(options: RawSessionOptions) {
    this.#options = options
  }

  get isReady(): boolean {
    return this.#isReady
  }

  open(port: number): void {
    const { localAddress, onLost } = this.#options
    const socket = connect({ host: '127.0.0.1', port, localAddress, noDelay: true })
    this.#socket = socket
    this.#rest = undefined
    this.#isUpgraded = false
    socket.write(
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
    )
    socket.on('error', () => undefined)
    socket.on('close', () => {
      if (this.#socket !== socket) return
      this.cut()
      onLost()
    })
    socket.on('data', (chunk: Buffer) => {
      if (this.#socket === socket) this.#read(chunk)
    })
  }

  /** Takes nothing from the line any more. */
  stall(): void {
    this.#socket?.pause()
  }

  /** The line is gone, with what was on its way. */
  cut(): void {
    const socket = this.#socket
    this.#socket = undefined
    this.#isReady = false
    socket?.destroy()
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    if (!this.#isUpgraded) {
      const end = bytes.indexOf('\r\n\r\n')
      if (end === -1) {
        this.#rest = bytes
        return
      }
      if (bytes.toString('latin1', 9, 12) !== '101') {
        this.#socket?.destroy()
        return
      }
      this.#isUpgraded = true
      at = end + 4
      this.#send(`40${JSON.stringify(this.#auth())}`)
    }
    while (bytes.length - at >= 2) {
      const short = (bytes[at + 1] ?? 0) & 0x7f
      const head = short < 126 ? 2 : short === 126 ? 4 : 10
      if (bytes.length - at < head) break
      const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
      if (bytes.length - at < head + length) break
      if (bytes[at] === 0x81) this.#receive(bytes, at + head, at + head + length)
      at += head + length
    }
    this.#rest = at < bytes.length ? bytes.subarray(at) : undefined
  }

  #auth(): object {
    const { token, offset: given } = this.#options
    if (this.#pid === undefined) return { token, ...(given !== undefined && { offset: given }) }
    const offset = /"([^"]*)"\]$/.exec(this.#last?.toString() ?? '')?.[1]
    return { token, pid: this.#pid, ...(offset !== undefined && { offset }) }
  }

  #receive(bytes: Buffer, start: number, end: number): void {
    const { readyBy, isResumable, onEvent } = this.#options
    const kind = bytes[start]
    if (kind === 0x32) this.#send('3')
    if (kind !== 0x34) return
    const packet = bytes[start + 1]
    if (packet === 0x30) {
      if (isResumable) this.#pid = /"pid":"([^"]+)"/.exec(bytes.toString('utf8', start, end))?.[1]
      if (readyBy === 'connect') this.#ready()
    } else if (packet === 0x34) this.#socket?.destroy()
    else if (packet === 0x32) {
      if (isResumable) this.#last = Buffer.from(bytes.subarray(start, end))
      if (bytes[start + 4] === 0x74) {
        let index = start + numberAt
        let number = 0
        for (let digit = digitAt(bytes, index); digit >= 0; digit = digitAt(bytes, ++index)) number = number * 10 + digit
        let dueAt = 0
        index += dueSkip
        for (let digit = digitAt(bytes, index); digit >= 0; digit = digitAt(bytes, ++index)) dueAt = dueAt * 10 + digit
        onEvent(number, dueAt)
      } else if (readyBy === 'sidecast:ready' && !this.#isReady) this.#ready()
    }
  }

  #ready(): void {
    this.#isReady = true
    this.#options.onReady()
  }

  /** A text frame with a mask of zeros, which leaves the text as it is. */
  #send(text: string): void {
    const head =
      text.length < 126
        ? Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0])
        : Buffer.from([0x81, 0xfe, text.length >> 8, text.length & 0xff, 0, 0, 0, 0])
    this.#socket?.write(Buffer.concat([head, Buffer.from(text)]))
  }
}

/** -1: it is none. */
function digitAt(bytes: Buffer, index: number): number {
  const digit = (bytes[index] ?? 0) - 0x30
  return digit >= 0 && digit <= 9 ? digit : -1
}
