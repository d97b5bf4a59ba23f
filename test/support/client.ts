import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client'

/** One event as the client got it. */
interface Received {
  readonly event: string
  readonly data: unknown
  readonly offset: string
}

interface Refusal {
  readonly code: string
  readonly message: string
  readonly retry: boolean
}

interface Acknowledgement {
  readonly ok: boolean
  readonly room?: string
  readonly rooms?: readonly string[]
  readonly expiresAt?: number | null
  readonly error?: { readonly code: string; readonly message: string; readonly retry: boolean }
}

export interface TestSession {
  readonly socket: Socket
  /** Application events, in the order of arrival. */
  readonly received: readonly Received[]
  /** What the server itself said. */
  readonly notices: readonly Received[]
  /** Resolves with the n-th (from 1) application event. */
  event(count?: number): Promise<Received>
  /** Resolves with the n-th notice of a name. */
  notice(name: string, count?: number): Promise<Received>
  /** Resolves when the given test of what was received holds. */
  until(holds: () => boolean): Promise<void>
  /** Resolves with the refusal of the next connection attempt. */
  refused(): Promise<Refusal>
  /** Resolves with the reason of the n-th disconnection. */
  closed(count?: number): Promise<string>
  request(event: string, body: unknown): Promise<Acknowledgement>
  /** Cuts the line without a word, as a network does. */
  cut(): void
  [Symbol.asyncDispose](): Promise<void>
}

type Options = Partial<ManagerOptions & SocketOptions> & { readonly token?: string | (() => string) }

/** A stock socket.io-client that queues what it receives, so nothing sleeps and nothing is missed. */
export function connectSession(url: string, { token, ...options }: Options): TestSession {
  const received: Received[] = []
  const notices: Received[] = []
  const refusals: Refusal[] = []
  const closes: string[] = []
  const waiting = new Set<() => void>()
  const changed = (): void => {
    for (const check of [...waiting]) check()
  }
  const until = (holds: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (!holds()) return
        waiting.delete(check)
        resolve()
      }
      waiting.add(check)
      check()
    })
  const at = async <T>(list: readonly T[], index: number): Promise<T> => {
    await until(() => list.length > index)
    return list[index] as T
  }

  const socket = io(url, {
    auth: (give) => give(token === undefined ? {} : { token: typeof token === 'string' ? token : token() }),
    transports: ['websocket'],
    forceNew: true,
    reconnectionDelay: 20,
    reconnectionDelayMax: 100,
    ...options,
  })
  socket.onAny((event: string, ...args: readonly unknown[]) => {
    const entry: Received = { event, data: args[0], offset: String(args.at(-1)) }
    if (event.startsWith('sidecast:')) notices.push(entry)
    else received.push(entry)
    changed()
  })
  socket.on('connect_error', (error) => {
    if ('data' in error) refusals.push(error.data as Refusal)
    changed()
  })
  socket.on('disconnect', (reason) => {
    closes.push(reason)
    changed()
  })
  let refusalsSeen = 0

  return {
    socket,
    received,
    notices,
    until,
    event: (count = 1) => at(received, count - 1),
    notice: async (name, count = 1) => {
      const named = (): readonly Received[] => notices.filter(({ event }) => event === name)
      await until(() => named().length >= count)
      return named()[count - 1] as Received
    },
    refused: () => at(refusals, refusalsSeen++),
    closed: (count = 1) => at(closes, count - 1),
    request: (event, body) => socket.timeout(25_000).emitWithAck(event, body),
    cut: () => socket.io.engine?.close(),
    async [Symbol.asyncDispose]() {
      socket.disconnect()
    },
  }
}
