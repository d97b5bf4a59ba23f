import type { Entry } from '../../core/entry.ts'
import type { Appended } from '../../core/event-log.ts'
import { BridgeError } from '../../errors.ts'
import { readOutcomes, toAppendCall } from './append-call.ts'
import { toList, toText } from './connection.ts'
import { formatAddress } from './endpoint.ts'
import { explain, Refused } from './failure.ts'
import { type Append, type Group, GroupQueue, maxGroupEntries, type Numbered, rememberMs } from './group-queue.ts'
import type { LogKeys } from './keys.ts'
import type { Link } from './link.ts'
import { missingReplicas, watchReplicas } from './replicas.ts'
import { appendScript } from './scripts.ts'
import { type Frame, toFrame } from './wire.ts'

export interface AppenderOptions {
  readonly keys: LogKeys
  /** Names this node to the script, which remembers its last group. */
  readonly writer: string
  readonly dedupeWindowMs: number
  /** How many replicas must have acknowledged. */
  readonly waitReplicas: number
  /** How often it is looked whether they do. */
  readonly everyMs: number
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

const patrolMs = 100
const displaced = /READONLY|MASTERDOWN|LOADING|MOVED|CLUSTERDOWN|NOAUTH/

/**
 * Groups what many append into one call of the script, one at a time.
 *
 * A group whose answer was lost is sent again over the next connection, under its number: the script gives the answer again, and stores nothing twice.
 * What has not been answered when its time is up is rejected, though it may be stored. Whoever repeats an errand gives it again under its number too.
 *
 * Once too few replicas have acknowledged, nothing is written until they do: it would be stored all the same, and the caller be told that it was not.
 */
export class Appender {
  readonly #options: AppenderOptions
  readonly #patrol: NodeJS.Timeout
  readonly #queue: GroupQueue
  #group: Group | undefined
  #restored = 0
  #footing: Footing | undefined
  #away = 'Redis is not connected yet'
  #pumping: Promise<void> | undefined
  #refusal: string | undefined
  /** What is missing for it to be safe. */
  #missing: string | undefined
  #head = 0
  /** Stored, and not yet followed. */
  #unseen: { readonly position: number; readonly append: Append; readonly appended: readonly Appended[] }[] = []
  #idle: (() => void)[] = []

  constructor(options: AppenderOptions) {
    this.#options = options
    this.#queue = new GroupQueue(options.writer)
    this.#patrol = setInterval(() => this.#rejectLate(), patrolMs).unref()
  }

  /** Why the last group was refused; absent when it was not. */
  get refusal(): string | undefined {
    return this.#missing ?? this.#refusal
  }

  /** What somebody else has found out. */
  refused(reason: string | undefined): void {
    this.#refusal = reason
  }

  append(entries: readonly Entry[], errand?: symbol): Promise<readonly Appended[]> {
    const reason = this.#footing === undefined ? this.#away : this.#missing
    if (reason !== undefined) return Promise.reject(new BridgeError('log_unavailable', reason))
    if (this.#queue.isFull) {
      return Promise.reject(new BridgeError('log_unavailable', 'more is waiting to be written to Redis than it takes'))
    }
    return new Promise((resolve, reject) => {
      // What cannot be encoded throws here and concerns this caller alone.
      const frames = entries.map((entry) => toFrame(entry))
      const bytes = frames.reduce((sum, { body }) => sum + body.length, 0)
      const deadline = performance.now() + this.#options.patienceMs
      this.#queue.push({ frames, bytes, errand, deadline, resolve, reject })
      this.#wake()
    })
  }

  /** Puts back what was lost, only where nothing newer stands; resolves with the newest position that it was given. */
  async restore(footing: Footing, lost: readonly { readonly entry: Entry; readonly position: number }[]): Promise<number> {
    let newest = 0
    for (let from = 0; from < lost.length; from += maxGroupEntries) {
      const frames = lost.slice(from, from + maxGroupEntries).map(({ entry, position }) => toFrame(entry, position))
      const appended = await this.#write(footing, { writer: `${this.#options.writer}-restore`, number: ++this.#restored, rememberMs }, frames)
      newest = Math.max(newest, ...appended.map(({ position }) => position))
    }
    return newest
  }

  /** From here on groups are written, beginning with the one that was under way. */
  open(footing: Footing): void {
    this.#footing = footing
    this.#refusal = undefined
    const { waitReplicas: wanted, everyMs, keys } = this.#options
    void watchReplicas(footing.link, { wanted, probe: keys.probe, everyMs, onJudged: (missing) => this.#judged(missing) })
    this.#wake()
  }

  /** Nothing can be written until `open`. Whoever has not been begun with is told at once. */
  shut(reason: string): void {
    this.#footing = undefined
    this.#away = reason
    this.#queue.rejectAll(reason)
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

  #judged(missing: string | undefined): void {
    this.#missing = missing
    if (missing !== undefined) this.#queue.rejectAll(missing)
  }

  #isIdle(): boolean {
    return this.#queue.isEmpty && this.#group === undefined && this.#unseen.length === 0
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
    if (ready && (this.#group !== undefined || !this.#queue.isEmpty)) this.#wake()
  }

  async #writeGroups(): Promise<void> {
    while (this.#group !== undefined || !this.#queue.isEmpty) {
      const footing = this.#footing
      if (footing === undefined || footing.link.failure !== undefined) return
      this.#group ??= this.#queue.take()
      const group = this.#group
      try {
        const frames = group.appends.flatMap((append) => append.frames)
        const appended = await this.#write(footing, group, frames)
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
  async #write(
    { link, epoch, server, known }: Footing,
    { writer, number, rememberMs }: Numbered,
    frames: readonly Frame[],
  ): Promise<readonly Appended[]> {
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
    const missing = await missingReplicas(link.commands, waitReplicas)
    this.#judged(missing)
    if (missing !== undefined) throw new BridgeError('log_unavailable', `${missing}; the entries may be stored`)
    return readOutcomes(result ?? '')
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
    this.#queue.rejectLate(now)
    while (this.#unseen[0] !== undefined && late(this.#unseen[0].append)) {
      const unseen = this.#unseen.shift()
      if (unseen !== undefined) reject(unseen.append, 'the entries are stored in Redis, but this node has not read them back in time')
    }
    this.#checkIdle()
  }
}
