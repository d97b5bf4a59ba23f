import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

/** A WebSocket client that reads each byte itself and believes nothing: what is not a whole, plain frame of a server (RFC 6455 5.2) is an error. */
export class WireClient {
  readonly tcp: Socket
  /** Texts, without Engine.IO's pings, which are answered. */
  readonly texts: string[] = []
  pongs = 0
  /** What was wrong with what came. */
  error: string | undefined
  /** Whether the server has said that nothing follows. */
  isClosed = false
  readonly ended: Promise<void>
  readonly #waiting = new Set<() => void>()
  #rest: Buffer = Buffer.alloc(0)
  #isUpgraded = false

  constructor(url: string) {
    const { port, hostname } = new URL(url)
    this.tcp = connect({ host: hostname, port: Number(port) })
    this.tcp.on('error', () => undefined)
    this.ended = new Promise((resolve) => this.tcp.once('close', () => resolve()))
    const key = randomBytes(16).toString('base64')
    const headers = `Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}`
    this.tcp.write(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${headers}\r\n\r\n`)
    this.tcp.on('data', (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk])
      try {
        this.#read()
      } catch (error) {
        this.error ??= String(error)
      }
      for (const check of [...this.#waiting]) check()
    })
  }

  /** With a mask of zeros, which leaves the text as it is. */
  send(text: string, opcode = 1): void {
    const head = text.length < 126 ? [0x80 | text.length] : [0xfe, text.length >> 8, text.length & 0xff]
    this.tcp.write(Buffer.concat([Buffer.from([0x80 | opcode, ...head, 0, 0, 0, 0]), Buffer.from(text)]))
  }

  /** Resolves when it holds for what has come; rejects when that is wrong, or the connection ends before. */
  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (this.error === undefined && !holds()) return
        this.#waiting.delete(check)
        if (this.error === undefined) resolve()
        else reject(new Error(this.error))
      }
      this.#waiting.add(check)
      check()
      void this.ended.then(() => reject(new Error(`closed after ${this.texts.length} texts, the last ${this.texts.at(-1)?.slice(0, 200)}`)))
    })
  }

  async login(token: string): Promise<void> {
    await this.until(() => this.texts.some((text) => text.startsWith('0')))
    this.send(`40${JSON.stringify({ token })}`)
    await this.until(() => this.texts.some((text) => text.startsWith('42["sidecast:ready"')))
  }

  #read(): void {
    if (!this.#isUpgraded) {
      const end = this.#rest.indexOf('\r\n\r\n')
      if (end === -1) return
      this.#rest = this.#rest.subarray(end + 4)
      this.#isUpgraded = true
    }
    for (;;) {
      const bytes = this.#rest
      const [first = 0, short = 0] = bytes
      const head = short === 127 ? 10 : short === 126 ? 4 : 2
      if (bytes.length < head) return
      const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short
      if (this.isClosed) throw new Error('a frame behind the last one')
      if (short > 127) throw new Error('a masked frame')
      if ((short === 126 && length < 126) || (short === 127 && length < 65_536)) throw new Error('a length that is written too long')
      if (![0x81, 0x88, 0x8a].includes(first))
        throw new Error(`a frame that begins with 0x${first.toString(16)} after ${this.texts.at(-1)?.slice(0, 200)}`)
      if (bytes.length < head + length) return
      this.#rest = bytes.subarray(head + length)
      const text = first === 0x81 ? new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(head, head + length)) : ''
      if (first === 0x8a) this.pongs++
      else if (first === 0x88) this.isClosed = true
      else if (text === '2') this.send('3')
      else this.texts.push(text)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tcp.destroy()
    await this.ended
  }
}
