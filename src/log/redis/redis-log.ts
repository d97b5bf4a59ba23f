import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Entry, Member, Membership, RevocationEntry, Stored } from '../../core/entry.ts'
import type { Appended, EventLog, LogHealth, Reading } from '../../core/event-log.ts'
import type { Stream } from '../../core/target.ts'
import { BridgeError, toBridgeError } from '../../errors.ts'
import type { Ownership } from '../owner.ts'
import type { RetentionOptions } from '../retention.ts'
import type { Runs } from '../runs.ts'
import type { LogShare } from '../shared.ts'
import { Appender, type Footing, waitForReplicas } from './appender.ts'
import { toList, toText } from './connection.ts'
import { formatAddress, type RedisEndpoint } from './endpoint.ts'
import { enter, firstOf, type Standing } from './enter.ts'
import { explain, Refused } from './failure.ts'
import { type Batch, type Cursor, cursorAt, readBatch } from './following.ts'
import { type LogKeys, logKeys } from './keys.ts'
import { Laggards } from './laggards.ts'
import { Link } from './link.ts'
import { loadWindow } from './loading.ts'
import { type Meta, readMeta, runsOf } from './meta.ts'
import { canaryScript, permissionScript, trimScript } from './scripts.ts'
import type { Window } from './window.ts'
import { ownWindows } from './window-folder.ts'

export interface RedisLogOptions extends RetentionOptions {
  readonly endpoint: RedisEndpoint
  /** PEM: who has signed the certificate of Redis. */
  readonly ca?: string
  /** What the keys begin with. */
  readonly prefix: string
  /** How many replicas must have what is accepted. */
  readonly waitReplicas: number
  /** Where the window lies. Created when it is not there. */
  readonly directory: string
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Other processes of this machine read the window too, see `share`. One process at a time has the directory then. */
  readonly shared?: boolean
  /** What went wrong where nobody waits for an answer. */
  readonly onFailure: (error: unknown) => void
  /** In place of the clock of Redis. */
  readonly clock?: () => number
  /** How long a Redis that is away is waited for at the start. */
  readonly openMs?: number
  readonly sweepMs?: number
  readonly canaryMs?: number
}

// A command that takes longer is as good as lost.
const timeoutMs = 4000
const patienceMs = 5000
const blockMs = 1000
const volatileKeepMs = 10_000
const forgetWriterMs = 60_000
const maxCanaryAgeMs = 10_000
const minDelayMs = 50
const maxDelayMs = 1000

/**
 * The log in a Redis that several nodes share. What is appended goes into a stream; every node follows the stream into a window of its own, and reads there.
 *
 * States: opening -> following <-> away (the link broke, another one is being made) -> closed. Entering a link verifies that the data is what it was, see
 * `enter`; when it is not, the window is made anew, and the follower is told that it has missed something.
 */
export class RedisLog implements EventLog {
  readonly #options: RedisLogOptions
  readonly #keys: LogKeys
  readonly #appender: Appender
  readonly #writer = randomUUID()
  readonly #closed = new AbortController()
  #window: Window
  #meta: Meta
  #runs: Runs
  #known: number
  #follower: ((entries: readonly Stored[]) => void) | undefined
  #onLost: (() => void) | undefined
  #link: Link | undefined
  /** The next one, until it has been entered. */
  #entering: Link | undefined
  #away = 'Redis is not connected yet'
  #running: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined
  #windows: Ownership | undefined
  #sweeper: NodeJS.Timeout | undefined
  #sweeping: Promise<void> | undefined
  #canaries = 0
  /** When the newest canary that came back was sent, by the clock of `performance`. */
  #canarySentAt = 0
  #canarySent = new Map<string, number>()
  /** When the last one was sent of those that came back. */
  #cameBackAt = 0
  readonly #laggards = new Laggards()
  #probing = false

  /** Resolves when the window shows all that there is. @throws BridgeError log_unavailable, log_foreign, log_read_only */
  static async open(options: RedisLogOptions): Promise<RedisLog> {
    const windows = options.shared ? await ownWindows(options.directory) : undefined
    try {
      const log = await RedisLog.#open(options)
      log.#windows = windows
      return log
    } catch (error) {
      await windows?.release()
      throw error
    }
  }

  static async #open(options: RedisLogOptions): Promise<RedisLog> {
    const keys = logKeys(options.prefix)
    const giveUpAt = performance.now() + (options.openMs ?? 30_000)
    for (let delay = minDelayMs; ; delay = Math.min(delay * 2, maxDelayMs)) {
      let link: Link | undefined
      try {
        link = await openLink(options, keys)
        const meta = await enter(link, undefined, enterOptions(options, keys))
        const window = await loadWindow(link, meta, { ...options, keys, onDamaged: options.onFailure })
        return new RedisLog(options, keys, link, meta, window)
      } catch (error) {
        link?.end(new Error('the connection is not used'))
        const { reason, lasting } = explain(error, whereIs(options))
        if (lasting || performance.now() + delay > giveUpAt) {
          const code = error instanceof BridgeError ? error.code : 'log_unavailable'
          throw new BridgeError(code, reason, { cause: error })
        }
        await pause(delay)
      }
    }
  }

  private constructor(options: RedisLogOptions, keys: LogKeys, link: Link, meta: Meta, window: Window) {
    this.#options = options
    this.#keys = keys
    this.#window = window
    this.#meta = meta
    this.#runs = runsOf(meta)
    this.#known = window.state.head
    const { dedupeWindowMs, waitReplicas, clock } = options
    this.#appender = new Appender({ keys, writer: this.#writer, dedupeWindowMs, waitReplicas, clock, patienceMs })
    this.#appender.followed(window.state.head)
    this.#sweeper = setInterval(() => this.#sweepSoon(), options.sweepMs ?? 1000).unref()
    this.#running = this.#run(link)
  }

  get epoch(): string {
    return this.#meta.epoch
  }

  get secret(): Uint8Array {
    return Buffer.from(this.#meta.secret, 'hex')
  }

  append(entries: readonly Entry[]): Promise<readonly Appended[]> {
    if (this.#closing !== undefined) return Promise.reject(new BridgeError('log_unavailable', 'the log is closed'))
    return entries.length === 0 ? Promise.resolve([]) : this.#appender.append(entries)
  }

  follow(onEntries: (entries: readonly Stored[]) => void, onLost?: () => void): void {
    if (this.#follower !== undefined) throw new BridgeError('internal', 'the log has a follower already')
    this.#follower = onEntries
    this.#onLost = onLost
  }

  head(): number {
    return this.#window.state.head
  }

  first(): number {
    return this.#window.state.first
  }

  offsetOf(position: number): string {
    return this.#runs.offsetOf(position)
  }

  positionOf(offset: string): number | undefined {
    return this.#runs.positionOf(offset, this.head())
  }

  async catchUp(offset: string): Promise<boolean> {
    if (this.positionOf(offset) !== undefined) return true
    return this.#laggards.wait(() => this.#probeSoon())
  }

  read(after: number, streams: readonly Stream[], limit: number): Reading {
    return this.#window.read(after, streams, limit)
  }

  memberships(member: Member): ReadonlyMap<string, Membership> {
    return this.#window.memberships(member)
  }

  sessionsWithMemberships(): readonly string[] {
    return this.#window.sessionsWithMemberships()
  }

  revocations(after = 0): readonly Stored<RevocationEntry>[] {
    return this.#window.revocations(after)
  }

  health(): LogHealth {
    const canaryAgeMs = Math.round(performance.now() - this.#canarySentAt)
    const stale =
      canaryAgeMs > maxCanaryAgeMs ? `nothing that this node writes has come back from Redis for ${Math.round(canaryAgeMs / 1000)} s` : undefined
    const reason = this.#closing !== undefined ? 'the log is closed' : this.#link === undefined ? this.#away : (this.#appender.refusal ?? stale)
    return reason === undefined ? { appendable: true, canaryAgeMs } : { appendable: false, reason, canaryAgeMs }
  }

  /** Two more connections to the Redis that keeps the log, for what else its nodes say to each other. @throws why there are none now */
  openLine(): Promise<Link> {
    return openLink(this.#options, this.#keys)
  }

  share(): LogShare {
    return { file: this.#window.file, epoch: this.epoch, secret: this.#meta.secret, runs: this.#runs.share() }
  }

  /** To be called when a process that has read the log is gone. */
  readerGone(): void {
    this.#window.readerGone()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    clearInterval(this.#sweeper)
    await this.#appender.drain()
    await this.#sweeping
    // Whoever leaves in order has nothing in Redis that could be lost without anybody knowing.
    await this.#link?.commands.call(['HDEL', this.#keys.writers, this.#writer]).catch(() => undefined)
    this.#closed.abort()
    for (const link of [this.#link, this.#entering]) link?.end(new Error('the log is closed'))
    await this.#running
    await this.#window.close()
    await this.#windows?.release()
  }

  #report(error: unknown): void {
    try {
      this.#options.onFailure(error)
    } catch {
      // An observer cannot stop the log, and nobody is left to be told.
    }
  }

  /** From link to link, until the log is closed. Never rejects. */
  async #run(first: Link): Promise<void> {
    let delay = minDelayMs
    for (let link: Link | undefined = first; !this.#closed.signal.aborted; link = undefined) {
      try {
        if (link === undefined) {
          link = await openLink(this.#options, this.#keys)
          this.#entering = link
          if (this.#closed.signal.aborted) throw new Error('the log is closed')
          await this.#enter(link)
          this.#entering = undefined
        }
        delay = minDelayMs
        await this.#follow(link)
      } catch (error) {
        link?.end(error instanceof Error ? error : toBridgeError(error))
        this.#leave(link?.failure ?? error)
      }
      if (this.#closed.signal.aborted) return
      // Ended early when the log is closed.
      await pause(delay, undefined, { signal: this.#closed.signal }).catch(() => undefined)
      delay = Math.min(delay * 2, maxDelayMs)
    }
  }

  #leave(error: unknown): void {
    const { reason } = explain(error, whereIs(this.#options))
    const news = this.#link !== undefined || this.#away !== reason
    this.#link = undefined
    this.#away = reason
    this.#appender.shut(reason)
    if (news && !this.#closed.signal.aborted) this.#report(new BridgeError('log_unavailable', reason, { cause: error }))
  }

  /** Goes on where this node was, or begins anew with what there is. */
  async #enter(link: Link): Promise<void> {
    const { epoch, secret } = this.#meta
    const standing: Standing = { epoch, secret, runs: this.#runs, known: this.#known }
    const meta = await enter(link, standing, enterOptions(this.#options, this.#keys))
    const head = this.#window.state.head
    // What stands before `first` and after our place is gone, and was not seen here.
    if (meta.epoch === epoch && (await firstOf(link, this.#keys, meta)) <= head + 1) {
      this.#meta = meta
      this.#runs = runsOf(meta)
      return
    }
    const window = await this.#reload(link, meta)
    const old = this.#window
    this.#window = window
    this.#meta = meta
    this.#runs = runsOf(meta)
    this.#known = window.state.head
    try {
      this.#onLost?.()
    } catch (error) {
      this.#report(error)
    }
    this.#appender.followed(window.state.head)
    this.#report(
      new BridgeError('log_unavailable', 'entries of the log in Redis are lost: all sessions are told that they may have missed something'),
    )
    await this.#sweeping
    await old.close()
  }

  /** A new window, with the rights that ended, and that only this node still knows of, in the log again. */
  async #reload(link: Link, meta: Meta): Promise<Window> {
    const options = { ...this.#options, keys: this.#keys, onDamaged: (error: unknown) => this.#report(error) }
    const window = await loadWindow(link, meta, options)
    if (meta.epoch === this.#meta.epoch) return window
    try {
      const footing = this.#footing(link, meta, () => window.state.head)
      const restored = await this.#appender.restore(footing, lostRights(this.#window, window, this.#options.now()))
      let cursor = cursorAt(window.state.head, link.server.now)
      while (window.state.head < restored) {
        const batch = await readBatch(link.follower, this.#keys, cursor, blockMs, options.onDamaged)
        await window.fill(batch.entries)
        cursor = batch.cursor
      }
      return window
    } catch (error) {
      await window.close()
      throw error
    }
  }

  #footing(link: Link, meta: Meta, known: () => number): Footing {
    return { link, epoch: meta.epoch, server: meta.server, known }
  }

  /** Takes in what comes, until the link ends. */
  async #follow(link: Link): Promise<never> {
    this.#link = link
    this.#canarySent.clear()
    this.#canarySentAt = performance.now()
    this.#appender.open(this.#footing(link, this.#meta, () => this.#known))
    const canary = setInterval(() => this.#sendCanarySoon(link), this.#options.canaryMs ?? 2000).unref()
    try {
      this.#sendCanarySoon(link)
      let next = this.#read(link, cursorAt(this.head(), link.server.now))
      for (;;) {
        const batch = await next
        next = this.#read(link, batch.cursor)
        await this.#take(link, batch)
      }
    } finally {
      clearInterval(canary)
    }
  }

  #read(link: Link, cursor: Cursor): Promise<Batch> {
    const batch = readBatch(link.follower, this.#keys, cursor, blockMs, (error) => this.#report(error))
    // It is looked at later, when what came before it is taken in.
    batch.catch(() => undefined)
    return batch
  }

  async #take(link: Link, batch: Batch): Promise<void> {
    const before = this.head()
    if (batch.epoch !== undefined && batch.epoch !== this.epoch) throw new Error('another node has begun a new epoch')
    if (batch.full) await this.#checkOverrun(link, before)
    if (batch.entries.length > 0) {
      const filled = await this.#window.fill(batch.entries)
      this.#known = Math.max(this.#known, this.head())
      this.#handOver(filled)
      this.#appender.followed(this.head())
      if (this.#window.surplus) this.#sweepSoon()
    }
    for (const token of batch.canaries) {
      const sentAt = this.#canarySent.get(token)
      if (sentAt === undefined) continue
      this.#canarySent.delete(token)
      this.#canarySentAt = Math.max(this.#canarySentAt, sentAt)
      this.#cameBackAt = sentAt
    }
    // What is in front of the canary may not be here yet when there was too much for one reading.
    if (!batch.full) this.#laggards.release(this.#cameBackAt)
  }

  /** A node that is far behind may find that what it wanted to read next is gone already. */
  async #checkOverrun(link: Link, head: number): Promise<void> {
    const meta = await readMeta(link.commands, this.#keys)
    if (meta === undefined || (await firstOf(link, this.#keys, meta)) > head + 1)
      throw new Error('the log was trimmed faster than this node has read it')
  }

  #handOver(entries: readonly Stored[]): void {
    try {
      this.#follower?.(entries)
    } catch (error) {
      // The entries are stored, whatever the follower makes of them.
      this.#report(error)
    }
  }

  /** One at a time: whoever comes meanwhile shares the next. */
  #probeSoon(): void {
    const link = this.#link
    if (this.#probing || link === undefined) return
    this.#probing = true
    const probe = async (): Promise<void> => {
      const at = performance.now()
      await this.#sendCanary(link)
      this.#probing = false
      if (this.#laggards.newestAt > at) this.#probeSoon()
    }
    probe().catch((error: unknown) => this.#report(error))
  }

  #sendCanarySoon(link: Link): void {
    this.#sendCanary(link).catch((error: unknown) => this.#report(error))
  }

  /** Proves that what is written comes back. It also finds out when the data are not what they were. */
  async #sendCanary(link: Link): Promise<void> {
    const token = `${this.#writer}.${++this.#canaries}`
    this.#canarySent.set(token, performance.now())
    const { meta, log, canary, writers } = this.#keys
    const args = [this.#meta.epoch, this.#meta.server, String(this.#known), this.#writer, token, String(forgetWriterMs)]
    try {
      const answer = await link.commands.run(canaryScript, [meta, log, canary, writers], args)
      const [status] = toList(answer).map(toText)
      if (status !== 'ok') link.end(new Error(`the log in Redis is not the one that this node knows (${status})`))
      await waitForReplicas(link, this.#options.waitReplicas)
      this.#appender.refused(undefined)
    } catch (error) {
      this.#canarySent.delete(token)
      if (link.failure === undefined) this.#appender.refused(explain(error, formatAddress(link.address)).reason)
      if (error instanceof Refused && /READONLY|MASTERDOWN/.test(error.message)) link.end(error)
    }
  }

  #sweepSoon(): void {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined
    })
  }

  /** Removes what is due here, then in Redis. Never rejects. */
  async #sweep(): Promise<void> {
    try {
      const window = this.#window
      const first = await window.sweep(this.#options.now(), (error) => this.#report(error))
      const link = this.#link
      if (link === undefined || window !== this.#window) return
      await link.commands.run(trimScript, [this.#keys.meta, this.#keys.log, this.#keys.volatile], [this.epoch, String(first), String(volatileKeepMs)])
    } catch (error) {
      // The next one tries again; what ails the link is told by those who need it.
      if (this.#link !== undefined) this.#report(error)
    }
  }
}

function enterOptions({ waitReplicas, clock }: RedisLogOptions, keys: LogKeys) {
  return { keys, clock, guarded: waitReplicas > 0 }
}

function whereIs({ endpoint }: RedisLogOptions): string {
  return endpoint.servers.map(formatAddress).join(', ')
}

/** @throws BridgeError log_foreign: entries could be thrown away, Refused, or the error of the network */
async function openLink(options: RedisLogOptions, keys: LogKeys): Promise<Link> {
  const { endpoint, ca } = options
  const link = await Link.open({ endpoint, timeoutMs, ...(ca !== undefined && { ca }) }, keys.meta)
  try {
    await link.commands.run(permissionScript, [keys.probe], [])
    const { eviction } = link.server
    if (eviction.startsWith('allkeys')) {
      throw new BridgeError(
        'log_foreign',
        `Redis throws away any key when it is full (maxmemory-policy ${eviction}): set maxmemory-policy noeviction, or give Sidecast a Redis of its own`,
      )
    }
    if (eviction.startsWith('volatile')) {
      options.onFailure(
        new BridgeError(
          'log_foreign',
          `Redis may forget ids before the dedupe window ends (maxmemory-policy ${eviction}), so that a repeated event is stored twice: set maxmemory-policy noeviction`,
        ),
      )
    }
    return link
  } catch (error) {
    link.end(new Error('the connection is not used'))
    throw error
  }
}

/** What ended rights, or changed them, and is missing or older in what there is now. */
function lostRights(old: Window, now: Window, time: number): readonly { readonly entry: Entry; readonly position: number }[] {
  const known = new Map(now.revocations().map(({ entry, position }) => [entry.revocation.id, position]))
  const revocations = old
    .revocations()
    .filter(({ entry, position }) => entry.revocation.expiresAt > time && (known.get(entry.revocation.id) ?? 0) < position)
    .map(({ entry, position }) => ({ entry, position }))
  const memberships: { readonly entry: Entry; readonly position: number }[] = []
  for (const { user, room, membership } of old.userMemberships()) {
    const { position, present } = membership
    if ((now.memberships({ user }).get(room)?.position ?? 0) >= position) continue
    memberships.push({ entry: { kind: 'membership', member: { user }, room, present }, position })
  }
  return [...revocations, ...memberships.toSorted((one, other) => one.position - other.position)]
}
