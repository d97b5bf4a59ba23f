/** The bridge that one would write by hand: Express takes events, stock Socket.IO sends them; nothing is stored, nothing is sent again. */
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import express from 'express'
import jwt from 'jsonwebtoken'
import { Server, type Socket } from 'socket.io'
import { listenOnLoopback } from './listen-on-loopback.ts'

interface Posted {
  readonly event: string
  readonly data: unknown
  readonly to: { readonly users?: readonly string[]; readonly rooms?: readonly string[] }
}

const { values } = parseArgs({ options: { recovery: { type: 'boolean', default: false }, port: { type: 'string', default: '0' } } })
const { PEER_SECRET: secret = '', PEER_API_KEY: apiKey = '' } = process.env

// The transport settings are those of Sidecast.
const server = createServer()
const io = new Server(server, {
  perMessageDeflate: false,
  httpCompression: false,
  maxHttpBufferSize: 16 * 1024,
  pingInterval: 25_000,
  pingTimeout: 20_000,
  ...(values.recovery && { connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: false } }),
})
io.use((socket, next) => {
  try {
    socket.data = jwt.verify(String(socket.handshake.auth.token), secret, { algorithms: ['HS256'] })
    next()
  } catch {
    next(new Error('the token is not good'))
  }
})
io.on('connection', (socket: Socket) => {
  const { sub, rooms = [] }: { readonly sub: string; readonly rooms?: readonly string[] } = socket.data
  void socket.join([`user:${sub}`, ...rooms.map((room) => `room:${room}`)])
})

const app = express()
app.disable('x-powered-by')
app.use((request, response, next) => {
  if (request.headers.authorization === `Bearer ${apiKey}`) next()
  else response.sendStatus(401)
})
app.use(express.json({ limit: '16mb' }))

let count = 0
function emit({ event, data, to }: Posted): object {
  io.to([...(to.users ?? []).map((user) => `user:${user}`), ...(to.rooms ?? []).map((room) => `room:${room}`)]).emit(event, data)
  return { id: `${++count}`, duplicate: false }
}
app.post('/v1/events', (request, response) => {
  response.status(202).json(emit(request.body))
})
app.post('/v1/events/batch', (request, response) => {
  const { events }: { readonly events: readonly Posted[] } = request.body
  response.status(202).json({ results: events.map(emit) })
})

const port = await listenOnLoopback(server, Number(values.port))
const privatePort = await listenOnLoopback(createServer(app), 0)
process.stdout.write(`${JSON.stringify({ msg: 'ready', public: `http://127.0.0.1:${port}`, private: `http://127.0.0.1:${privatePort}` })}\n`)
