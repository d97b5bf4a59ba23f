/** Refuses every request, and does nothing else: what a flood costs a neighbour, by the machine alone. */
import { createServer } from 'node:http'

const refusal = 'HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 12\r\n\r\nrate_limited'
const server = createServer((request) => request.socket.end(refusal))
server.on('upgrade', (_request, socket) => socket.on('error', () => undefined).end(refusal))
server.on('clientError', (_error, socket) => socket.destroy())
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (typeof address === 'object') process.stdout.write(`${JSON.stringify({ port: address?.port })}\n`)
})
