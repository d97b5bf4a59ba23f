import { setTimeout as pause } from 'node:timers/promises'
import type { PeerLink, PeerListener, PresenceChange } from '../core/peers.ts'
import { BridgeError } from '../errors.ts'
import { type Heard, type Message, readMessages, writeMessage } from './message.ts'

/** How often a node says that it is there, and how long it may be silent. */
const beatMs = 1000
const silenceMs = 5000

/** Older messages are of no use to anybody: who has not read them by then is told all anew. */
const keepMs = 30_000

/** Changes that go out in one message. */
const maxChanges = 1000

/** All are asked no more often than this: each tells all that it has. */
const askMs = 3000

/** Those who ask within this time are answered together. */
const answerMs = 100

const blockMs = 1000
const minDelayMs = 50
const maxDelayMs = 1000

/** What it needs of a connection to Redis. */
interface Caller {
  /** `blockMs`: how long the command itself may wait. */
  call(args: readonly string[], blockMs?: number): Promise<unknown>
}

/** Two connections: one that commands, and one that waits for what comes. When one ends, both do, and every call rejects. */
export interface RedisLine {
  readonly commands: Caller
  readonly follower: Caller
  end(error: Error): void
}

export interface RedisPresenceOptions {
  /** The key of the stream. */
  readonly key: string
  /** Another one for each process. */
  readonly node: string
  readonly open: () => Promise<RedisLine>
  readonly onFailure: (error: unknown) => void
}

interface Peer {
  heardAt: number
  /** The number of its last message. */
  number: number
  /** Of a later version that is not understood here. */
  readonly unreadable: boolean
  /** It has begun to tell all, and nothing was missed since. As long as that is not so, it is asked for. */
  readonly whole: boolean
}

/**
 * Who is connected at the other nodes, over a stream in Redis. Messages of each node are numbered: where one is missing, everybody is asked to tell all anew,
 * and so after every connection.
 *
 * States: away <-> following -> closed. While it is away nobody is forgotten: nothing can be known of anybody.
 */
export class RedisPresence implements PeerLink {
  readonly #options: RedisPresenceOptions
  readonly #peers = new Map<string, Peer>()
  readonly #closed = new AbortController()
  readonly #beat: NodeJS.Timeout
  #listener: PeerListener | undefined
  #running: Promise<void> | undefined
  #line: RedisLine | undefined
  #changes: PresenceChange[] = []
  #sending = false
  #number = 0
  #cursor = '0-0'
  #answer: NodeJS.Timeout | undefined
  #askedAt = Number.NEGATIVE_INFINITY

  constructor(options: RedisPresenceOptions) {
    this.#options = options
    this.#beat = setInterval(() => this.#tick(), beatMs)
  }

  /** Begins, with who is connected now. */
  follow(listener: PeerListener): void {
    this.#listener = listener
    this.#running ??= this.#run()
  }

  announce(changes: readonly PresenceChange[]): void {
    // All is told anew on the next connection.
    if (this.#line === undefined) return
    for (const change of changes) this.#changes.push(change)
    void this.#send()
  }

  /** The others forget this node at once. */
  async close(): Promise<void> {
    clearInterval(this.#beat)
    clearTimeout(this.#answer)
    this.#closed.abort()
    const line = this.#line
    const told = this.#tell({ kind: 'bye' })
    // Whatever came behind it would make this node known again.
    this.#line = undefined
    await told.catch(() => undefined)
    line?.end(new Error('the presence is closed'))
    await this.#running
  }

  /** From line to line. Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#closed
    let delay = minDelayMs
    while (!signal.aborted) {
      let line: RedisLine | undefined
      try {
        line = await this.#options.open()
        signal.throwIfAborted()
        await this.#enter(line)
        delay = minDelayMs
        for (;;) await this.#read(line)
      } catch (error) {
        line?.end(error instanceof Error ? error : new Error(String(error)))
        if (this.#line !== undefined && !signal.aborted) this.#options.onFailure(error)
        this.#line = undefined
        this.#changes = []
      }
      await pause(delay, undefined, { signal }).catch(() => undefined)
      delay = Math.min(delay * 2, maxDelayMs)
    }
  }

  async #enter(line: RedisLine): Promise<void> {
    const [newest] = readMessages(await line.commands.call(['XREVRANGE', this.#options.key, '+', '-', 'COUNT', '1']))
    this.#closed.signal.throwIfAborted()
    this.#cursor = newest?.id ?? '0-0'
    this.#line = line
    // They have as long as ever to be heard.
    for (const peer of this.#peers.values()) peer.heardAt = performance.now()
    this.#listener?.asked()
    await this.#sayHello()
  }

  async #read(line: RedisLine): Promise<void> {
    const reply = await line.follower.call(['XREAD', 'COUNT', '100', 'BLOCK', String(blockMs), 'STREAMS', this.#options.key, this.#cursor], blockMs)
    const [stream] = Array.isArray(reply) ? reply : []
    for (const { id, message } of readMessages(Array.isArray(stream) ? stream[1] : undefined)) {
      this.#cursor = id
      if (message !== undefined && message.node !== this.#options.node) this.#take(message)
    }
  }

  #take(message: Heard): void {
    const { node, number } = message
    const known = this.#peers.get(node)
    const tellsAll = message.kind === 'changes' && message.changes.some(({ kind }) => kind === 'all-begin')
    const unreadable = message.kind === 'unreadable' || (known?.unreadable === true && !tellsAll)
    const whole = tellsAll || (known?.whole === true && number === known.number + 1 && !unreadable)
    this.#peers.set(node, { heardAt: performance.now(), number, unreadable, whole })
    if (message.kind !== 'bye' && !whole && !unreadable) this.#ask()
    switch (message.kind) {
      case 'changes':
        if (!unreadable) this.#listener?.changed(node, message.changes)
        return
      case 'hello':
        // Whoever asks, all others answer, and are heard here too.
        if (whole) this.#askedAt = performance.now()
        this.#answer ??= setTimeout(() => {
          this.#answer = undefined
          if (this.#line !== undefined) this.#listener?.asked()
        }, answerMs).unref()
        return
      case 'bye':
        this.#forget(node)
        return
      case 'beat':
      case 'other':
        return
      case 'unreadable':
        if (known?.unreadable) return
        this.#listener?.gone(node)
        this.#options.onFailure(
          new BridgeError('internal', `node ${node} is of a later version that this one does not understand: its sessions are not counted here`),
        )
        return
      default:
        message satisfies never
    }
  }

  /** What comes too soon is made up for: the next message of one that is not whole asks again. */
  #ask(): void {
    if (performance.now() - this.#askedAt >= askMs) this.#sayHello().catch(() => undefined)
  }

  #sayHello(): Promise<void> {
    this.#askedAt = performance.now()
    return this.#tell({ kind: 'hello' })
  }

  #tick(): void {
    if (this.#line === undefined) return
    this.#listener?.due()
    this.#tell({ kind: 'beat' }).catch(() => undefined)
    const due = performance.now() - silenceMs
    for (const [node, { heardAt }] of this.#peers) if (heardAt < due) this.#forget(node)
  }

  #forget(node: string): void {
    this.#peers.delete(node)
    this.#listener?.gone(node)
  }

  /** What comes while a message is on its way goes out with the next. */
  async #send(): Promise<void> {
    if (this.#sending) return
    this.#sending = true
    try {
      while (this.#changes.length > 0) await this.#tell({ kind: 'changes', changes: this.#changes.splice(0, maxChanges) })
    } catch {
      // The line is over: who reads from it says so.
      this.#changes = []
    } finally {
      this.#sending = false
    }
  }

  async #tell(
    content: { readonly kind: 'hello' | 'beat' | 'bye' } | { readonly kind: 'changes'; readonly changes: readonly PresenceChange[] },
  ): Promise<void> {
    const line = this.#line
    if (line === undefined) return
    const message: Message = { node: this.#options.node, number: ++this.#number, ...content }
    try {
      // By the clock of Redis, which has made the ids.
      const oldest = Math.max(0, Number(this.#cursor.split('-')[0]) - keepMs)
      await line.commands.call(['XADD', this.#options.key, 'MINID', '~', String(oldest), '*', 'm', writeMessage(message)])
    } catch (error) {
      line.end(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }
}
