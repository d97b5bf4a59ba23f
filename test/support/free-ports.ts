import { createServer } from 'node:net'

const firstPort = 10_000
const portsPerFile = 5000

/**
 * Ports that a server can be started on again and again. Below those that the system gives to outgoing connections: a client that calls a port of
 * its own range while nobody listens may get itself. Each of the files that run at once has its own: a server that is away for a moment finds its port again.
 * `and`: so far behind each of them another port is free too.
 */
export async function freePorts(count: number, and = 0): Promise<readonly number[]> {
  const ports: number[] = []
  const first = firstPort + (Number(process.env.VITEST_POOL_ID ?? 0) % 4) * portsPerFile
  for (let tries = 0; ports.length < count && tries < 1000; tries++) {
    const port = first + Math.floor(Math.random() * portsPerFile)
    if (!ports.includes(port) && (await isFree(port)) && (and === 0 || (await isFree(port + and)))) ports.push(port)
  }
  return ports
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  const outcome = new Promise<boolean>((resolve) => server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)))
  const free = await outcome
  if (free) await new Promise((resolve) => server.close(resolve))
  return free
}
