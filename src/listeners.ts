import type { Server } from 'node:http'
import type { Server as TcpServer } from 'node:net'
import { BridgeError } from './errors.ts'

/** How long requests that are being answered may take when the bridge stops. */
const requestGraceMs = 5000

/**
 * Connections that the system makes before they are taken; it allows 4096 by itself. All clients come back at once after a restart, and one for whom there is
 * no room tries again after 1, 3, 7, 15 s.
 */
const backlog = 4096

interface Address {
  readonly host: string
  readonly port: number
}

/** `name`: public or private, as the variables are called. @throws BridgeError listen_failed */
export async function listen(server: TcpServer, name: string, { host, port }: Address): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(new BridgeError('listen_failed', `the ${name} listener cannot open ${host}:${port} (${listenProblem(cause, name)}`, { cause })),
    )
    server.listen(port, host, backlog, resolve)
  })
}

/** The code of the failure and what cures it. */
function listenProblem({ code, message }: NodeJS.ErrnoException, name: string): string {
  const variable = `SIDECAST_${name.toUpperCase()}`
  switch (code) {
    case 'EADDRINUSE':
      return `${code}): stop the other process that has it (the quickstart?) or set ${variable}_PORT`
    case 'EACCES':
      return `${code}): this user may not; set ${variable}_PORT to one above 1023`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${code}): set ${variable}_HOST to an address of this machine`
    default:
      return `${code ?? message}): set ${variable}_HOST and ${variable}_PORT to what this process may open`
  }
}

/** Lets the requests finish that are being answered. */
export async function closeServer(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  const impatience = setTimeout(() => server.closeAllConnections(), requestGraceMs)
  await closed
  clearTimeout(impatience)
}

/** Where it listens, as address:port. */
export function toBound(server: TcpServer): string {
  const address = server.address()
  if (address === null || typeof address === 'string') return String(address)
  return `${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`
}

export function toUrl(host: string, server: TcpServer): string {
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`
}
