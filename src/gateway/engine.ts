import { Socket as TcpSocket } from 'node:net'
import type { Socket } from 'socket.io'
import { WebSocket } from 'ws'

/** The Engine.IO connection under a socket. */
export type Engine = Socket['conn']

/** How long a client has to take the last words before its connection is cut. */
export const farewellMs = 3000

/** Long-polling waits 30 seconds for the client to come for its last answer, and the process with it. A field of engine.io (6.6). */
export function limitFarewell({ transport }: Engine): void {
  if ('closeTimeout' in transport) Object.assign(transport, { closeTimeout: farewellMs })
}

/** The TCP connection under a WebSocket; undefined for long-polling, where each request may have another. A private field of ws (8.23). */
export function tcpOf({ transport }: Engine): TcpSocket | undefined {
  if (!('socket' in transport) || !(transport.socket instanceof WebSocket) || !('_socket' in transport.socket)) return undefined
  const { _socket: tcp } = transport.socket
  return tcp instanceof TcpSocket ? tcp : undefined
}

/** Ends the connection without waiting for a client that may not be reading: `close` alone holds what is queued until the ping timeout. */
export function cut(engine: Engine): void {
  const tcp = tcpOf(engine)
  engine.close(true)
  tcp?.destroy()
}
