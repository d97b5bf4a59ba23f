import { WebSocket } from 'ws'
import { reasonOf } from './finding.ts'

/** One session by the protocol of Socket.IO (PROTOCOL.md), as far as a try of it needs. Over WebSocket, which is what proxies forget to let through. */
export class Line {
  readonly #socket: WebSocket
  readonly #arrived: string[] = []
  readonly #waiting = new Set<() => void>()
  #ended: string | undefined

  static async open(publicUrl: string, token: string, origin: string | undefined, timeoutMs: number): Promise<Line> {
    const url = new URL('socket.io/?EIO=4&transport=websocket', publicUrl.replace(/\/?$/, '/'))
    url.protocol = url.protocol.replace('http', 'ws')
    const line = new Line(new WebSocket(url, { handshakeTimeout: timeoutMs, ...(origin === undefined ? {} : { origin }) }))
    await line.until((packet) => packet.startsWith('0'), timeoutMs)
    line.#socket.send(`40${JSON.stringify({ token })}`)
    await line.until((packet) => packet.startsWith('42["sidecast:ready"'), timeoutMs)
    return line
  }

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (data) => {
      const packet = String(data)
      if (packet === '2') socket.send('3')
      // A refusal says why.
      else if (packet.startsWith('44')) this.#end(`refused: ${codeOf(packet)}`)
      else this.#arrived.push(packet)
      this.#tell()
    })
    socket.on('error', (error) => this.#end(reasonOf(error)))
    socket.on('close', () => this.#end('the connection was closed'))
  }

  /** Resolves when a packet has come for which it holds. @throws Error with the reason */
  until(holds: (packet: string) => boolean, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (done: () => void): void => {
        clearTimeout(timer)
        this.#waiting.delete(check)
        done()
      }
      const check = (): void => {
        if (this.#arrived.some(holds)) settle(resolve)
        else if (this.#ended !== undefined) settle(() => reject(new Error(this.#ended)))
      }
      const timer = setTimeout(() => settle(() => reject(new Error(`nothing came within ${timeoutMs / 1000} s`))), timeoutMs)
      this.#waiting.add(check)
      check()
    })
  }

  close(): void {
    this.#socket.terminate()
  }

  #end(reason: string): void {
    this.#ended ??= reason
    this.#tell()
  }

  #tell(): void {
    for (const check of [...this.#waiting]) check()
  }
}

function codeOf(packet: string): string {
  const [, code = 'without a reason'] = /"code":"([a-z_]{1,40})"/.exec(packet) ?? []
  return code
}
