import type { Entry } from '../../core/entry.ts'
import type { Appended } from '../../core/event-log.ts'
import { BridgeError } from '../../errors.ts'
import { readOutcomes, toAppendCall } from './append-call.ts'
import { toList, toText } from './connection.ts'
import { formatAddress } from './endpoint.ts'
import { explain, Refused } from './failure.ts'
import type { LogKeys } from './keys.ts'
import type { Link } from './link.ts'
import { appendScript } from './scripts.ts'
import { type Frame, toFrame } from './wire.ts'

export interface AppenderOptions {
  readonly keys: LogKeys
  /** Names this node to the script, which remembers its last group. */
  readonly writer: string
  readonly dedupeWindowMs: number
  /** How many replicas must have acknowledged. */
  readonly waitReplicas: number
  /** In place of the clock of Redis. */
  readonly clock?: (() => number) | undefined
  /** How long a caller waits at most. */
  readonly patienceMs: number
}

/** For whom groups are written: what the script checks, see `refusal`. */
export interface Footing {
  readonly link: Link
  readonly epoch: string
  readonly server: string
  /** The newest position that this node knows of. */
  known(): number
}

interface Append {
  readonly frames: readonly Frame[]
  readonly bytes: number
  readonly deadline: number
  readonly resolve: (appended: readonly Appended[]) => void
  readonly reject: (error: unknown) => void
}

interface Group {
  readonly number: number
  readonly appends: readonly Append[]
}

// Bounds of one group: how long the script holds Redis up, and how much is sent again when a connection breaks.
const maxGroupEntries = 256
const maxGroupBytes = 2 ** 22
// Bounds of what waits for its group.
const maxQueuedEntries = 65_536
const maxQueuedBytes = 2 ** 26
// Longer than any group is sent again.
const rememberMs = 120_000
const waitMs = 1500
const patrolMs = 100
const displaced = /READONLY|MASTERDOWN|LOADING|MOVED|CLUSTERDOWN|NOAUTH/

/**
 * Groups what many append into one call of the script, one at a time.
 *
 * A group whose answer was lost is sent again over the next connection, under its number: the script gives the answer again, and stores nothing twice.
 * What has not been answered when its time is up is rejected, though it may be stored.
 */
export class Appender {
  readonly #options: AppenderOptions
  readonly #patrol: NodeJS.Timeout
  #queue: Append[] = []
  #queuedEntries = 0
  #queuedBytes = 0
  #group: Group | undefined
  #groups = 0
  #restored = 0
  #footing: Footing | undefined
  #away = 'Redis is not connected yet'
  #pumping: Promise<void> | undefined
  #refusal: string | undefined
  #head = 0
  /** Stored, and not yet followed. */
  #unseen: { readonly position: number; readonly append: Append; readonly appended: readonly Appended[] }[] = []
  #idle: (() => void)[] = []

  constructor(options: AppenderOptions) {
    this.#options = options
    this.#patrol = setInterval(() => this.#rejectLate(), patrolMs).unref()
  }

  /** Why the last group was refused; absent when it was not. */
  get refusal(): string | undefined {
    return this.#refusal
  }

  /** What somebody else has found out. */
  refused(reason: string | undefined): void {
    this.#refusal = reason
  }

  append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (this.#footing === undefined) return Promise.reject(new BridgeError('log_unavailable', this.#away))
    if (this.#queuedEntries >= maxQueuedEntries || this.#queuedBytes >= maxQueuedBytes) {
      return Promise.reject(new BridgeError('log_unavailable', 'more is waiting to be written to Redis than it takes'))
    }
    return new Promise((resolve, reject) => {
      // What cannot be encoded throws here and concerns this caller alone.
      const frames = entries.map((entry) => toFrame(entry))
      const bytes = frames.reduce((sum, { body }) => sum + body.length, 0)
      this.#queue.push({ frames, bytes, deadline: performance.now() + this.#options.patienceMs, resolve, reject })
      this.#queuedEntries += frames.length
      this.#queuedBytes += bytes
      this.#wake()
    })
  }

  /** Puts back what was lost, only where nothing newer stands; resolves with the newest position that it was given. */
  async restore(footing: Footing, lost: readonly { readonly entry: Entry; readonly position: number }[]): Promise<number> {
    let newest = 0
    for (let from = 0; from < lost.length; from += maxGroupEntries) {
      const frames = lost.slice(from, from + maxGroupEntries).map(({ entry, position }) => toFrame(entry, position))
      const appended = await this.#write(footing, `${this.#options.writer}-restore`, ++this.#restored, frames)
      newest = Math.max(newest, ...appended.map(({ position }) => position))
    }
    return newest
  }

  /** From here on groups are written, beginning with the one that was under way. */
  open(footing: Footing): void {
    this.#footing = footing
    this.#refusal = undefined
    this.#wake()
  }

  /** Nothing can be written until `open`. Whoever has not been begun with is told at once. */
  shut(reason: string): void {
    this.#footing = undefined
    this.#away = reason
    const waiting = this.#queue.splice(0)
    this.#queuedEntries = 0
    this.#queuedBytes = 0
    for (const { reject } of waiting) reject(new BridgeError('log_unavailable', reason))
  }

  /** Everything up to here has been handed over. */
  followed(position: number): void {
    this.#head = position
    let due = 0
    while ((this.#unseen[due]?.position ?? Number.POSITIVE_INFINITY) <= position) due++
    for (const { append, appended } of this.#unseen.splice(0, due)) append.resolve(appended)
    this.#checkIdle()
  }

  /** Resolves when everybody has their answer. */
  async drain(): Promise<void> {
    if (!this.#isIdle()) await new Promise<void>((resolve) => this.#idle.push(resolve))
    clearInterval(this.#patrol)
  }

  #isIdle(): boolean {
    return this.#queue.length === 0 && this.#group === undefined && this.#unseen.length === 0
  }

  #checkIdle(): void {
    if (this.#isIdle()) for (const resolve of this.#idle.splice(0)) resolve()
  }

  #wake(): void {
    this.#pumping ??= this.#pump()
  }

  /** Never rejects. */
  async #pump(): Promise<void> {
    // What is appended in this turn shares the group.
    await undefined
    await this.#writeGroups()
    this.#pumping = undefined
    this.#checkIdle()
    // Another connection may have come while the old one was being given up.
    const ready = this.#footing !== undefined && this.#footing.link.failure === undefined
    if (ready && (this.#group !== undefined || this.#queue.length > 0)) this.#wake()
  }

  async #writeGroups(): Promise<void> {
    while (this.#group !== undefined || this.#queue.length > 0) {
      const footing = this.#footing
      if (footing === undefined || footing.link.failure !== undefined) return
      this.#group ??= { number: ++this.#groups, appends: this.#takeGroup() }
      const group = this.#group
      try {
        const frames = group.appends.flatMap((append) => append.frames)
        const appended = await this.#write(footing, this.#options.writer, group.number, frames)
        this.#refusal = undefined
        this.#group = undefined
        this.#settle(group, appended)
      } catch (error) {
        // Another server may take it.
        if (error instanceof Refused && displaced.test(error.message)) footing.link.end(error)
        if (footing.link.failure !== undefined) return
        const { reason } = explain(error, formatAddress(footing.link.address))
        this.#refusal = reason
        this.#group = undefined
        for (const { reject } of group.appends) reject(new BridgeError('log_unavailable', reason, { cause: error }))
      }
    }
  }

  /** @throws Refused, BridgeError: nothing was stored, or not as safely as asked for. Or why the link is over: then it is not known. */
  async #write({ link, epoch, server, known }: Footing, writer: string, number: number, frames: readonly Frame[]): Promise<readonly Appended[]> {
    const { keys, clock, dedupeWindowMs, waitReplicas } = this.#options
    const { idKeys, mixed, args } = toAppendCall(frames, keys)
    const fixed = [keys.meta, keys.log, keys.volatile, keys.members, keys.sessions, keys.revocations, keys.writer(writer)]
    const head = [epoch, server, String(known()), String(number), String(clock?.() ?? ''), String(dedupeWindowMs), String(rememberMs), mixed]
    const [status, result] = toList(await link.commands.run(appendScript, [...fixed, ...idKeys], [...head, ...args])).map(toText)
    if (status === 'stale') throw new BridgeError('log_unavailable', 'a later group of this node is stored already')
    if (status !== 'ok') {
      const error = new Error(`the log in Redis is not the one that this node knows (${status})`)
      link.end(error)
      throw error
    }
    await waitForReplicas(link, waitReplicas)
    return readOutcomes(result ?? '')
  }

  #takeGroup(): readonly Append[] {
    let entries = 0
    let bytes = 0
    const end = this.#queue.findIndex((append, index) => {
      entries += append.frames.length
      bytes += append.bytes
      return index > 0 && (entries > maxGroupEntries || bytes > maxGroupBytes)
    })
    const taken = this.#queue.splice(0, end === -1 ? this.#queue.length : end)
    for (const append of taken) {
      this.#queuedEntries -= append.frames.length
      this.#queuedBytes -= append.bytes
    }
    return taken
  }

  /** Answers those whose entries have been followed; the others when they are. */
  #settle({ appends }: Group, appended: readonly Appended[]): void {
    let from = 0
    for (const append of appends) {
      const own = appended.slice(from, from + append.frames.length)
      from += append.frames.length
      const position = own.findLast(({ outcome }) => outcome === 'stored')?.position ?? 0
      if (position <= this.#head) append.resolve(own)
      else this.#unseen.push({ position, append, appended: own })
    }
  }

  #rejectLate(): void {
    const now = performance.now()
    const late = ({ deadline }: Append): boolean => deadline <= now
    const reject = (append: Append, reason: string): void => append.reject(new BridgeError('log_unavailable', reason))
    if (this.#group?.appends.every(late)) {
      for (const append of this.#group.appends) reject(append, 'Redis has not answered in time; the entries may be stored')
      // Without a connection nobody waits for its answer any more, and nothing needs its number.
      if (this.#footing === undefined) this.#group = undefined
    }
    while (this.#queue[0] !== undefined && late(this.#queue[0])) {
      const append = this.#queue.shift()
      if (append === undefined) break
      this.#queuedEntries -= append.frames.length
      this.#queuedBytes -= append.bytes
      reject(append, 'Redis has not answered in time')
    }
    while (this.#unseen[0] !== undefined && late(this.#unseen[0].append)) {
      const unseen = this.#unseen.shift()
      if (unseen !== undefined) reject(unseen.append, 'the entries are stored in Redis, but this node has not read them back in time')
    }
    this.#checkIdle()
  }
}

/** @throws BridgeError log_unavailable: it is stored, but not as safely as asked for. Or why the link is over */
export async function waitForReplicas({ commands }: Link, replicas: number): Promise<void> {
  if (replicas === 0) return
  const acknowledged = Number(await commands.call(['WAIT', String(replicas), String(waitMs)], waitMs))
  if (acknowledged >= replicas) return
  const wanted = `of the ${replicas} that SIDECAST_REDIS_WAIT asks for`
  throw new BridgeError('log_unavailable', `only ${acknowledged} replicas ${wanted} have acknowledged in ${waitMs} ms; the entries may be stored`)
}
