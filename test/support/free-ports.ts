import { createServer } from 'node:net'

/**
 * Ports that a server can be started on again and again. Below those that the system gives to outgoing connections: a client that calls a port of
 * its own range while nobody listens may get itself.
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = []
  for (let tries = 0; ports.length < count && tries < 1000; tries++) {
    const port = 10_000 + Math.floor(Math.random() * 20_000)
    if (!ports.includes(port) && (await isFree(port))) ports.push(port)
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
