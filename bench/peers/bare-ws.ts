/**
 * The least that a server of WebSockets can do: each event is made a frame once, and the frame is written to each connection of the room. Tokens are
 * taken at their word, nothing is kept; it speaks as much of Socket.IO as the clients of the load need.
 */
import { createServer } from 'node:http'
import type { Duplex } from 'node:stream'
import jwt from 'jsonwebtoken'
import { WebSocketServer } from 'ws'
import { listenOnLoopback } from './listen-on-loopback.ts'

interface Posted {
  readonly event: string
  readonly data: unknown
  readonly to: { readonly users?: readonly string[]; readonly rooms?: readonly string[] }
}

const rooms = new Map<string, Set<Duplex>>()

/** An unmasked text frame of less than 64 KiB (RFC 6455 5.2). */
function toFrame(text: string): Buffer {
  const body = Buffer.from(text)
  const head = body.length < 126 ? Buffer.from([0x81, body.length]) : Buffer.from([0x81, 126, body.length >> 8, body.length & 0xff])
  return Buffer.concat([head, body])
}

function send({ event, data, to }: Posted): object {
  const frame = toFrame(`42${JSON.stringify([event, data, 'bare-0'])}`)
  for (const name of [...(to.users ?? []).map((user) => `user:${user}`), ...(to.rooms ?? []).map((room) => `room:${room}`)]) {
    for (const connection of rooms.get(name) ?? []) connection.write(frame)
  }
  return { duplicate: false }
}

const server = createServer()
const webSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })
server.on('upgrade', (request, connection, head) => {
  webSockets.handleUpgrade(request, connection, head, (client) => {
    client.on('error', () => undefined)
    client.once('message', (message) => {
      const { token }: { readonly token: string } = JSON.parse(String(message).slice(2))
      const claims = jwt.decode(token, { json: true })
      const entered = [`user:${claims?.sub}`, ...(claims?.rooms ?? []).map((room: string) => `room:${room}`)]
      for (const name of entered) {
        const room = rooms.get(name) ?? new Set()
        rooms.set(name, room.add(connection))
      }
      client.once('close', () => {
        for (const name of entered) rooms.get(name)?.delete(connection)
      })
      client.send('40{}')
    })
  })
})

const ingress = createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const body = JSON.parse(Buffer.concat(chunks).toString())
  const answer = JSON.stringify('events' in body ? { results: body.events.map(send) } : send(body))
  response.writeHead(202, { 'content-length': answer.length }).end(answer)
})

const port = await listenOnLoopback(server, 0)
const privatePort = await listenOnLoopback(ingress, 0)
process.stdout.write(`${JSON.stringify({ msg: 'ready', public: `http://127.0.0.1:${port}`, private: `http://127.0.0.1:${privatePort}` })}\n`)
