import type { Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import type { Entry, Stored } from '../core/entry.ts'
import type { Appended } from '../core/event-log.ts'
import type { Check } from '../core/health.ts'
import type { PeerLink, PeerListener, Peers, PresenceChange } from '../core/peers.ts'
import { BridgeError } from '../errors.ts'
import type { Runs } from '../log/runs.ts'
import type { LogShare } from '../log/shared.ts'
import { type MetricsSnapshot, ProcessMetrics } from '../metrics/process-metrics.ts'
import { entriesFrame, messageFrame } from './channel.ts'
import type { ToWorker, WorkerStart } from './messages.ts'
import { WorkerProcess } from './worker-process.ts'

const beatMs = 1000

/** How long the metrics of a worker are waited for. */
const metricsMs = 1000

/** Besides the period of a drain; and for the end of a process. */
const graceMs = 8000

/** Between the end of a worker and the start of its successor: doubled while they do not live. */
const minRestartMs = 100
const maxRestartMs = 10_000
const livesMs = 60_000

/** Sessions that a new worker is told of in one message. */
const chunk = 500

export interface WorkersOptions {
  readonly count: number
  readonly sources: WorkerStart['sources']
  /** The log as it is now: a copy of its newest entries. */
  readonly share: () => LogShare
  /** What the runs of the log are, as often as it may be asked. */
  readonly runs: () => Runs
  readonly append: (entries: readonly Entry[]) => Promise<readonly Appended[]>
  /** See `EventLog.catchUp`. */
  readonly catchUp: (offset: string) => Promise<boolean>
  /** Who is connected, as the hub of the parent knows it. */
  readonly peers: () => Peers
  readonly ownMetrics: () => Promise<MetricsSnapshot>
  readonly onStarted: (worker: number) => void
  readonly onEnded: (worker: number, reason: string, restartMs: number) => void
  /** To be told when a worker is gone. */
  readonly onGone: () => void
  readonly onFailure: (error: unknown) => void
}

/** The processes that serve the browsers: started, fed with the log, told of each other's sessions, replaced when they end. */
export class Workers implements PeerLink {
  readonly #options: WorkersOptions
  readonly #processes = new Map<number, WorkerProcess>()
  readonly #metrics = new ProcessMetrics()
  readonly #metricsWaiting = new Map<number, (metrics: MetricsSnapshot) => void>()
  readonly #beat: NodeJS.Timeout
  #listener: PeerListener | undefined
  #closing = false
  /** The last run that the workers know. */
  #run: string

  constructor(options: WorkersOptions) {
    this.#options = options
    this.#run = options.runs().current
    this.#beat = setInterval(() => {
      this.#tellRuns()
      for (const process of this.#processes.values()) process.beat()
    }, beatMs)
  }

  /** Resolves when all are up. @throws BridgeError when one of them ends before */
  async start(): Promise<void> {
    const numbers = Array.from({ length: this.#options.count }, (_, index) => index + 1)
    await Promise.all(
      numbers.map(
        (number) =>
          new Promise<void>((resolve, reject) =>
            this.#spawn(number, 0, {
              up: resolve,
              ended: (reason) => reject(new BridgeError('internal', `worker ${number} cannot start: ${reason}; its own lines say why`)),
            }),
          ),
      ),
    )
  }

  /** What was appended, to all. */
  broadcast(entries: readonly Stored[]): void {
    this.#tellRuns()
    if (this.#processes.size > 0) this.#toAll(entriesFrame(entries))
  }

  /** The log is another one: what the workers read is no more. Their successors tell the clients. */
  startOver(): void {
    for (const process of this.#processes.values()) process.cut('the log has lost entries')
  }

  /** As which the hub knows the workers. */
  get nodes(): readonly string[] {
    return [...this.#processes.keys()].map(nodeName)
  }

  /** The parent has no sessions of its own. */
  announce(): void {}

  follow(listener: PeerListener): void {
    this.#listener = listener
  }

  /** What processes on other machines say of their sessions. */
  relay(node: string, changes: readonly PresenceChange[], except?: number): void {
    const relayed = changes.flatMap((change) => toRelayed(change))
    if (relayed.length > 0 && this.#processes.size > (except === undefined ? 0 : 1))
      this.#toAll(messageFrame({ kind: 'presence', node, changes: relayed } satisfies ToWorker), except)
  }

  relayGone(node: string): void {
    this.#toAll(messageFrame({ kind: 'gone', node } satisfies ToWorker))
  }

  /** Hands a connection to the worker that knows it, else to the one with the least to do. */
  hand(socket: Socket, head: Buffer, number: number | undefined): void {
    const owner = number === undefined ? undefined : this.#processes.get(number)
    const ups = [...this.#processes.values()].filter(({ up }) => up)
    const responsive = ups.filter((process) => process.responsive)
    const candidates = responsive.length > 0 ? responsive : ups
    const chosen = owner?.up ? owner : candidates.toSorted((one, other) => one.load - other.load)[0]
    if (chosen === undefined) socket.destroy()
    else chosen.hand(socket, head, { isNew: number === undefined })
  }

  /** Whether too much waits for the slow clients of one of them. */
  get overloaded(): boolean {
    return [...this.#processes.values()].some((process) => process.overloaded)
  }

  check(): Check {
    const up = [...this.#processes.values()].filter((process) => process.responsive).length
    const { count } = this.#options
    if (up < count) return { name: 'workers', failure: `${up} of ${count} workers are up` }
    const held = [...this.#processes.values()].find(({ heldUp }) => heldUp !== undefined)
    return { name: 'workers', ...(held === undefined ? {} : { failure: `worker ${held.number}: ${held.heldUp}` }) }
  }

  /** The metrics of all processes as those of one bridge. */
  async render(): Promise<string> {
    const own = await this.#options.ownMetrics()
    const told = new Map<WorkerProcess, MetricsSnapshot>()
    const impatience = new AbortController()
    const all = [...this.#processes.values()].filter(({ up }) => up)
    await Promise.race([
      Promise.all(all.map(async (process) => told.set(process, await this.#metricsOf(process)))),
      setTimeout(metricsMs, undefined, { signal: impatience.signal, ref: false }).catch(() => undefined),
    ])
    impatience.abort()
    // Not of one that is gone since: what it has counted is in the sum already.
    const there = [...told].filter(([process]) => this.#processes.get(process.number) === process)
    return this.#metrics.render(new Map([['parent', own], ...there.map(([process, snapshot]) => [String(process.number), snapshot] as const)]))
  }

  /** Sends the clients elsewhere over a period. */
  async drain(periodMs: number): Promise<void> {
    this.#closing = true
    const all = Promise.all([...this.#processes.values()].map((process) => process.drain(periodMs)))
    await Promise.race([all, setTimeout(periodMs + graceMs, undefined, { ref: false })])
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    this.#closing = true
    const all = [...this.#processes.values()]
    for (const process of all) process.stop()
    const ended = Promise.all(all.map((process) => process.ended))
    await Promise.race([ended, setTimeout(graceMs, undefined, { ref: false })])
    for (const process of this.#processes.values()) process.cut('it does not end')
    await ended
    clearInterval(this.#beat)
  }

  #spawn(number: number, failures: number, first?: { readonly up: () => void; readonly ended: (reason: string) => void }): void {
    const startedAt = performance.now()
    const node = nodeName(number)
    const process = new WorkerProcess({
      start: { number, sources: this.#options.sources, share: this.#options.share() },
      append: (entries) => this.#options.append(entries),
      catchUp: async (offset) => {
        const caughtUp = await this.#options.catchUp(offset)
        this.#tellRuns()
        return caughtUp
      },
      onReady: () => {
        this.#options.onStarted(number)
        first?.up()
      },
      onPresence: (changes) => {
        this.#listener?.changed(node, changes)
        this.relay(node, changes, number)
      },
      onMetrics: (metrics) => {
        this.#metricsWaiting.get(number)?.(metrics)
        this.#metricsWaiting.delete(number)
      },
      onEnd: (reason) => {
        const wasUp = performance.now() - startedAt
        this.#processes.delete(number)
        this.#listener?.gone(node)
        this.relayGone(node)
        this.#options.onGone()
        this.#metrics.retire(String(number)).catch(this.#options.onFailure)
        first?.ended(reason)
        if (this.#closing) return
        const before = wasUp > livesMs ? 0 : failures
        const restartMs = Math.min(minRestartMs * 2 ** before, maxRestartMs)
        this.#options.onEnded(number, reason, restartMs)
        globalThis
          .setTimeout(() => {
            if (!this.#closing) this.#spawn(number, before + 1)
          }, restartMs)
          .unref()
      },
    })
    this.#processes.set(number, process)
    this.#introduce(process)
  }

  /** Tells a new worker who is connected to the others. */
  #introduce(process: WorkerProcess): void {
    const peers = this.#options.peers()
    for (const node of peers.nodes) {
      let changes: PresenceChange[] = []
      const tell = (): void => process.tell({ kind: 'presence', node, changes })
      for (const change of peers.toldBy(node)) {
        changes.push(...toRelayed(change))
        if (changes.length < chunk) continue
        tell()
        changes = []
      }
      if (changes.length > 0) tell()
    }
  }

  #metricsOf(process: WorkerProcess): Promise<MetricsSnapshot> {
    return new Promise((resolve) => {
      const earlier = this.#metricsWaiting.get(process.number)
      this.#metricsWaiting.set(process.number, (metrics) => {
        earlier?.(metrics)
        resolve(metrics)
      })
      process.tell({ kind: 'metrics' })
    })
  }

  #tellRuns(): void {
    const runs = this.#options.runs()
    if (runs.current === this.#run) return
    this.#run = runs.current
    this.#toAll(messageFrame({ kind: 'runs', runs: runs.share() } satisfies ToWorker))
  }

  #toAll(frame: Buffer, except?: number): void {
    for (const process of this.#processes.values()) if (process.number !== except) process.write(frame)
  }
}

const nodeName = (number: number): string => `worker ${number}`

/** Workers need to know of others' sessions that they exist, and whose they are. */
function toRelayed(change: PresenceChange): readonly PresenceChange[] {
  switch (change.kind) {
    case 'opened':
      return [{ kind: 'opened', session: { ...change.session, rooms: [] } }]
    case 'closed':
    case 'all-begin':
    case 'all-end':
      return [change]
    case 'rooms':
    case 'details':
      return []
    default:
      return change satisfies never
  }
}
