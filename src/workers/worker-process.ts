import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { extname } from 'node:path'
import { Duplex } from 'node:stream'
import type { Entry } from '../core/entry.ts'
import type { Appended } from '../core/event-log.ts'
import type { PresenceChange } from '../core/peers.ts'
import { BridgeError, toBridgeError } from '../errors.ts'
import type { MetricsSnapshot } from '../metrics/process-metrics.ts'
import { Channel } from './channel.ts'
import { descriptorOf } from './descriptor.ts'
import type { HandedConnection, ToParent, ToWorker, WorkerStart } from './messages.ts'

const parentDescriptor = 4

/** A worker that takes so little of what it is told is cut off: its clients resume elsewhere, and what waits for it would fill the memory. */
const maxBacklogBytes = 64 * 1024 * 1024

/** So many beats may go unanswered; more while it is starting. */
const maxSilentBeats = 10
const maxStartBeats = 60

export interface WorkerProcessOptions {
  readonly start: WorkerStart
  append(entries: readonly Entry[]): Promise<readonly Appended[]>
  /** See `EventLog.catchUp`. Resolves when the worker has been told what was found. */
  catchUp(offset: string): Promise<boolean>
  onReady(): void
  onPresence(changes: readonly PresenceChange[]): void
  onMetrics(metrics: MetricsSnapshot): void
  /** Called once. `reason`: why it was cut off, or how it ended. */
  onEnd(reason: string): void
}

/** The parent's side of one worker. States: starting -> up -> ended; ends by itself, or is cut off. */
export class WorkerProcess {
  readonly number: number
  readonly #options: WorkerProcessOptions
  readonly #child: ChildProcess
  readonly #channel: Channel<ToParent, ToWorker>
  /** Closes the connections that were handed over and not yet taken, in order. */
  readonly #handed: (() => void)[] = []
  #state: 'starting' | 'up' | 'ended' = 'starting'
  #silentBeats = 0
  #connections = 0
  /** Handed over since the last beat was asked for, and in the time before that: the answer may not know of them yet. */
  #recent = { since: 0, before: 0 }
  #overloaded = false
  #heldUp: string | undefined
  #cutFor: string | undefined
  readonly #drained = Promise.withResolvers<void>()
  readonly ended: Promise<void>

  constructor(options: WorkerProcessOptions) {
    this.#options = options
    this.number = options.start.number
    // The file beside this one, in the sources as in what is built of them.
    const main = new URL(`main${extname(import.meta.filename)}`, import.meta.url)
    this.#child = fork(main, [`worker-${this.number}`], { stdio: ['ignore', 'inherit', 'inherit', 'ipc', 'pipe'] })
    const stream = this.#child.stdio[parentDescriptor]
    if (!(stream instanceof Duplex)) throw new BridgeError('internal', 'a worker was started without its line')
    stream.on('error', () => this.cut('its line is broken'))
    this.#channel = new Channel(stream, { entries: () => undefined, message: (message) => this.#hear(message) })
    this.#child.on('error', () => this.cut('its process cannot be reached'))
    this.#child.send(options.start, () => undefined)
    this.ended = once(this.#child, 'exit').then(
      ([code, signal]) => this.#end(code === null ? `it was ended by ${String(signal)}` : `it has ended with exit code ${String(code)}`),
      (error: unknown) => this.#end(String(error)),
    )
  }

  get up(): boolean {
    return this.#state === 'up'
  }

  /** Whether it answers at the moment. */
  get responsive(): boolean {
    return this.up && this.#silentBeats < 3
  }

  /** How much it has to do, to be compared with others. */
  get load(): number {
    return this.#connections
  }

  /** Why it answers late; undefined: it does not. */
  get heldUp(): string | undefined {
    return this.#heldUp
  }

  /** Whether too much waits for its slow clients. */
  get overloaded(): boolean {
    return this.#overloaded
  }

  tell(message: ToWorker): void {
    this.#channel.send(message)
  }

  /** Something that is encoded already. */
  write(frame: Buffer): void {
    this.#channel.write(frame)
    if (this.#channel.backlogBytes > maxBacklogBytes) this.cut('it does not take what it is told')
  }

  /** Once a second. A parent that was held up itself has missed its own beats as well, so it is patient then. */
  beat(): void {
    if (this.#state === 'ended') return
    this.#silentBeats++
    if (this.#silentBeats > (this.up ? maxSilentBeats : maxStartBeats)) this.cut('it does not answer')
    else {
      this.#recent = { since: 0, before: this.#recent.since }
      this.tell({ kind: 'beat' })
    }
  }

  /** Hands over a connection; nothing may be reading from it any more. */
  hand(socket: Socket, head: Buffer, { isNew }: { readonly isNew: boolean }): void {
    const descriptor = descriptorOf(socket)
    // Node takes the descriptor out of the socket to send it, and where the worker ends before it has it, nobody would close it (Node 24).
    this.#handed.push(() => {
      socket.destroy()
      descriptor.close()
    })
    if (isNew) {
      this.#connections++
      this.#recent = { ...this.#recent, since: this.#recent.since + 1 }
    }
    const message: HandedConnection = { head: head.toString('latin1') }
    this.#child.send(message, socket, { keepOpen: false }, (error) => {
      if (error !== null) socket.destroy()
    })
  }

  async drain(periodMs: number): Promise<void> {
    this.tell({ kind: 'drain', periodMs })
    await Promise.race([this.#drained.promise, this.ended])
  }

  stop(): void {
    this.tell({ kind: 'stop' })
  }

  /** Ends it at once; the kernel closes its connections. */
  cut(reason: string): void {
    this.#cutFor ??= reason
    this.#child.kill('SIGKILL')
  }

  #hear(message: ToParent): void {
    this.#silentBeats = 0
    switch (message.kind) {
      case 'ready':
        this.#state = 'up'
        this.#options.onReady()
        return
      case 'append':
        this.#append(message.request, message.entries)
        return
      case 'catch-up': {
        const { request, offset } = message
        void this.#options.catchUp(offset).then((caughtUp) => this.tell({ kind: 'caught-up', request, caughtUp }))
        return
      }
      case 'presence':
        this.#options.onPresence(message.changes)
        return
      case 'metrics':
        this.#options.onMetrics(message.metrics)
        return
      case 'beat':
        // Too many for a moment is harmless; with too few all newcomers would go to the same worker.
        this.#connections = message.connections + this.#recent.before + this.#recent.since
        this.#heldUp = message.eventLoop.failure
        return
      case 'pressure':
        this.#overloaded = message.overloaded
        return
      case 'taken':
        this.#handed.shift()
        return
      case 'drained':
        this.#drained.resolve()
        return
      default:
        message satisfies never
    }
  }

  #append(request: number, entries: readonly Entry[]): void {
    this.#options.append(entries).then(
      (appended) => this.tell({ kind: 'appended', request, appended }),
      (error: unknown) => {
        const { code, message } = toBridgeError(error)
        this.tell({ kind: 'not-appended', request, code, message })
      },
    )
  }

  #end(how: string): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    // Those that it never got would wait for nothing.
    for (const close of this.#handed.splice(0)) close()
    this.#options.onEnd(this.#cutFor ?? how)
  }
}
