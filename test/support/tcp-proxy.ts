import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A way to a TCP server that can be made to fail like a network. */
export interface TcpProxy {
  readonly host: string
  readonly port: number
  /** How many connections pass through it now, or are held by it. */
  readonly connections: number
  /** How many connections were taken since it started. */
  readonly accepted: number
  /** Ends connections with a reset on both sides, all of them unless told which; new ones pass. Returns how many. */
  cut(picked?: () => boolean): number
  /** Takes connections and bytes and passes on nothing, on open connections too, until `restore`. */
  blackHole(): void
  /** Keeps what the target answers, on open connections too, until `restore` passes it on: late, and nothing is lost. */
  hold(): void
  /**
   * Passes on nothing of what the target says, until `restore`; what is said to it arrives. On all connections, new ones too, unless told on which: they are
   * numbered as they are taken, from 0.
   */
  mute(picked?: (connection: number) => boolean): void
  /** Resets every connection and every attempt, until `restore`. */
  refuse(): void
  /** Passes all on again; what a black hole has swallowed is lost, so the connections that it held are reset. */
  restore(): void
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** `port` 0 for any free one. */
export async function startTcpProxy(target: { readonly host: string; readonly port: number }, port = 0): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>()
  let mode: 'pass' | 'hold' | 'swallow' | 'refuse' = 'pass'
  const held: (() => void)[] = []
  let muted: ((connection: number) => boolean) | undefined
  let accepted = 0
  const cut = (picked = () => true): number => {
    const chosen = [...pairs].filter(picked)
    for (const pair of chosen) for (const socket of pair) socket.resetAndDestroy()
    return chosen.length
  }

  const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    const number = accepted++
    near.on('error', () => undefined)
    if (mode === 'refuse') {
      near.resetAndDestroy()
      return
    }
    const far = connect({ ...target, noDelay: true, allowHalfOpen: true })
    const pair = [near, far] as const
    pairs.add(pair)
    for (const [from, to] of [pair, [far, near] as const]) {
      const isMute = (): boolean => from === far && muted?.(number) === true
      from.on('data', (chunk) => {
        if (isMute()) return
        if (mode === 'hold' && from === far) {
          held.push(() => to.write(chunk))
          return
        }
        if (mode !== 'pass' && mode !== 'hold') return
        if (to.write(chunk)) return
        from.pause()
        to.once('drain', () => from.resume())
      })
      from.on('end', () => {
        if (isMute()) return
        if (mode === 'pass') to.end()
        else if (mode === 'hold') held.push(() => to.end())
      })
      from.on('error', () => undefined)
      from.on('close', (failed) => {
        if (to.closed) pairs.delete(pair)
        // The other side learns nothing from a black hole.
        else if ((mode === 'pass' || mode === 'hold') && !failed) to.destroySoon()
        else if (mode !== 'swallow') to.resetAndDestroy()
      })
    }
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')

  const close = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve))
    cut()
    await closed
  }
  return {
    host: '127.0.0.1',
    port: Object(server.address()).port,
    get connections() {
      return pairs.size
    },
    get accepted() {
      return accepted
    },
    cut,
    blackHole() {
      mode = 'swallow'
    },
    hold() {
      mode = 'hold'
    },
    mute(picked = () => true) {
      muted = picked
    },
    refuse() {
      mode = 'refuse'
      cut()
    },
    restore() {
      if (mode === 'swallow' || muted !== undefined) cut()
      mode = 'pass'
      muted = undefined
      for (const pass of held.splice(0)) pass()
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
