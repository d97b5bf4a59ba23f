import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP proxy that can reset what goes through it. */
export interface CuttingProxy {
  readonly url: string
  /** Resets the connections that the test picks; returns how many. */
  cut(picked: (index: number) => boolean): number
  [Symbol.asyncDispose](): Promise<void>
}

export async function startCuttingProxy(target: number): Promise<CuttingProxy> {
  const pairs = new Set<readonly [Socket, Socket]>()
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: target, host: '127.0.0.1', noDelay: true })
    const pair = [near, far] as const
    pairs.add(pair)
    for (const [one, other] of [pair, [far, near] as const]) {
      one.pipe(other)
      // Whichever side ends, and however, ends both.
      one
        .on('error', () => {})
        .on('close', () => {
          other.destroy()
          pairs.delete(pair)
        })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut(picked) {
      const chosen = [...pairs].filter((_, index) => picked(index))
      for (const pair of chosen) for (const socket of pair) socket.resetAndDestroy()
      return chosen.length
    },
    async [Symbol.asyncDispose]() {
      server.close()
      for (const pair of pairs) for (const socket of pair) socket.destroy()
      await once(server, 'close')
    },
  }
}
