import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

/** A proxy before a bridge which loses the first answers: the bridge has accepted, and the publisher does not learn it. */
export interface SwallowingProxy {
  readonly url: string
  /** The answers of the bridge that were lost. */
  readonly swallowed: readonly string[]
  /** The answers that went through. */
  readonly passed: readonly string[]
  [Symbol.asyncDispose](): Promise<void>
}

export async function startSwallowingProxy(target: string, answersToLose: number): Promise<SwallowingProxy> {
  const swallowed: string[] = []
  const passed: string[] = []
  const server = createServer(async (incoming, outgoing) => {
    const body = await buffer(incoming)
    const forwarded = request(new URL(incoming.url ?? '/', target), { method: incoming.method, headers: incoming.headers })
    forwarded.end(body)
    const [response] = await once(forwarded, 'response')
    const answer = await buffer(response)
    if (swallowed.length < answersToLose) {
      swallowed.push(answer.toString())
      incoming.socket.destroy()
      return
    }
    passed.push(answer.toString())
    outgoing.writeHead(response.statusCode, { 'content-type': response.headers['content-type'] }).end(answer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    swallowed,
    passed,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
