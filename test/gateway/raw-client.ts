import type { Socket as TcpSocket } from 'node:net'
import { WebSocket } from 'ws'

/** A client that speaks the protocol by hand, to say what no stock client says. Packets are those of Engine.IO: `4` and a Socket.IO packet, `2` a ping. */
export interface RawClient {
  readonly socket: WebSocket
  /** What the server has sent, without its pings, which are answered. */
  readonly packets: readonly string[]
  send(...packets: readonly string[]): void
  /** Resolves with the first packet that begins like this, now or later; rejects when the connection closes without. */
  packet(start: string): Promise<string>
  /** Resolves when it holds for the packets; rejects when the connection closes before. */
  until(holds: () => boolean): Promise<void>
  /** Says who it is; resolves when the server has taken it in. */
  login(token: string, auth?: Readonly<Record<string, unknown>>): Promise<{ readonly pid: string }>
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>
  /** The connection below, to stop reading from or to write bytes to. */
  readonly tcp: TcpSocket
  [Symbol.asyncDispose](): Promise<void>
}

export async function openRaw(url: string, headers: Readonly<Record<string, string | readonly string[]>> = {}): Promise<RawClient> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, {
    headers: headers as Record<string, string>,
    perMessageDeflate: false,
  })
  const packets: string[] = []
  const waiting = new Set<() => void>()
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('message', (data) => {
    const packet = String(data)
    if (packet === '2') socket.send('3')
    else packets.push(packet)
    for (const check of [...waiting]) check()
  })
  await new Promise<void>((resolve, reject) => socket.once('open', resolve).once('error', reject))
  // A server that cuts a connection in the middle of what is written makes errors, and that is what is waited for.
  socket.on('error', () => undefined)

  const until = (holds: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (!holds()) return
        waiting.delete(check)
        resolve()
      }
      waiting.add(check)
      check()
      void closed.then(() => reject(new Error(`closed after ${packets.length} packets, the last ${packets.at(-1)?.slice(0, 200)}`)))
    })
  const packet = async (start: string): Promise<string> => {
    let seen = 0
    await until(() => {
      while (seen < packets.length && !packets[seen]?.startsWith(start)) seen++
      return seen < packets.length
    })
    return packets[seen] ?? ''
  }
  return {
    socket,
    packets,
    closed,
    until,
    packet,
    tcp: Reflect.get(socket, '_socket'),
    send: (...all) => {
      for (const one of all) socket.send(one)
    },
    login: async (token, auth = {}) => {
      socket.send(`40${JSON.stringify({ token, ...auth })}`)
      const { pid } = JSON.parse((await packet('40')).slice(2))
      await packet('42["sidecast:ready"')
      return { pid }
    },
    async [Symbol.asyncDispose]() {
      socket.terminate()
      await closed
    },
  }
}
