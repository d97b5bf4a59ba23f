import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Entry, Member, Membership, RevocationEntry, Stored } from '../../core/entry.ts'
import type { Appended, EventLog, LogHealth, Reading } from '../../core/event-log.ts'
import type { Stream } from '../../core/target.ts'
import { BridgeError, toBridgeError } from '../../errors.ts'
import type { Ownership } from '../owner.ts'
import type { Runs } from '../runs.ts'
import type { LogShare } from '../shared.ts'
import { Appender } from './appender.ts'
import { Canaries } from './canaries.ts'
import { explain } from './failure.ts'
import { type Batch, type Cursor, cursorAt, readBatch } from './following.ts'
import { blockMs, firstGround, type Ground, maxDelayMs, minDelayMs, nextGround } from './ground.ts'
import { Handover } from './handover.ts'
import { type LogKeys, logKeys } from './keys.ts'
import type { Link } from './link.ts'
import { openLink, remember } from './log-link.ts'
import { type Meta, runsOf } from './meta.ts'
import { type RedisLogOptions, whereIs } from './options.ts'
import { Overrun } from './overrun.ts'
import { Trimming } from './trimming.ts'
import type { Window } from './window.ts'
import { ownWindows } from './window-folder.ts'

const patienceMs = 5000
const maxCanaryAgeMs = 10_000
const lostMessage = 'entries of the log in Redis are lost: all sessions are told that they may have missed something'

/**
 * The log in a Redis that several nodes share. What is appended goes into a stream; every node follows the stream into a window of its own, and reads there.
 *
 * States: opening -> following <-> away (the link broke, another one is being made) -> closed. Entering a link verifies that the data is what it was, see
 * `enter`; when it is not, the window is made anew, and the follower is told that it has missed something.
 */
export class RedisLog implements EventLog {
  readonly #options: RedisLogOptions
  readonly #keys: LogKeys
  readonly #handover = new Handover((error) => this.#report(error))
  readonly #appender: Appender
  readonly #canaries: Canaries
  readonly #trimming: Trimming
  readonly #writer = randomUUID()
  readonly #closed = new AbortController()
  #window: Window
  #meta: Meta
  #runs: Runs
  /** What follows the window is gone: it is to be made anew. */
  #overrun = false
  #link: Link | undefined
  /** Until it is in use. */
  #entering: Link | undefined
  #away = 'Redis is not connected yet'
  #running: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined
  #windows: Ownership | undefined
  /** Once the first link is in use, or is over. */
  readonly #begun = Promise.withResolvers<void>()

  /** Resolves when the window shows all that there is. @throws BridgeError log_unavailable, log_foreign, log_read_only */
  static async open(options: RedisLogOptions): Promise<RedisLog> {
    const windows = options.shared ? await ownWindows(options.directory) : undefined
    try {
      const log = new RedisLog(options, await firstGround(options, logKeys(options.prefix)))
      log.#windows = windows
      await log.#begun.promise
      return log
    } catch (error) {
      await windows?.release()
      throw error
    }
  }

  private constructor(options: RedisLogOptions, { link, meta, window }: Ground & { readonly link: Link }) {
    const keys = logKeys(options.prefix)
    this.#options = options
    this.#keys = keys
    this.#window = window
    this.#meta = meta
    this.#runs = runsOf(meta)
    const { dedupeWindowMs, waitReplicas, clock, canaryMs: everyMs = 2000 } = options
    this.#appender = new Appender({ keys, writer: this.#writer, dedupeWindowMs, waitReplicas, everyMs, clock, patienceMs })
    this.#appender.followed(window.state.head)
    this.#canaries = new Canaries({
      keys,
      writer: this.#writer,
      everyMs,
      onJudged: (refusal) => this.#appender.refused(refusal),
      onFailure: (error) => this.#report(error),
    })
    this.#trimming = new Trimming({
      keys,
      everyMs: options.sweepMs ?? 1000,
      now: options.now,
      clock,
      standing: () => ({ window: this.#window, epoch: this.epoch, link: this.#link }),
      onFailure: (error) => this.#report(error),
    })
    this.#running = this.#run(link)
  }

  get epoch(): string {
    return this.#meta.epoch
  }

  get secret(): Uint8Array {
    return Buffer.from(this.#meta.secret, 'hex')
  }

  append(entries: readonly Entry[], errand?: symbol): Promise<readonly Appended[]> {
    if (this.#closing !== undefined) return Promise.reject(new BridgeError('log_unavailable', 'the log is closed'))
    return entries.length === 0 ? Promise.resolve([]) : this.#appender.append(entries, errand)
  }

  follow(onEntries: (entries: readonly Stored[]) => void, onLost?: () => void): void {
    this.#handover.follow(onEntries, onLost)
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
    return this.#canaries.catchUp()
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
    const canaryAgeMs = this.#canaries.ageMs
    const stale =
      canaryAgeMs > maxCanaryAgeMs ? `nothing that this node writes has come back from Redis for ${Math.round(canaryAgeMs / 1000)} s` : undefined
    const reason = this.#closing !== undefined ? 'the log is closed' : this.#link === undefined ? this.#away : (this.#appender.refusal ?? stale)
    return reason === undefined ? { appendable: true, canaryAgeMs } : { appendable: false, reason, canaryAgeMs }
  }

  /** Two more connections to the Redis that keeps the log, for what else its nodes say to each other. @throws why there are none now */
  openLine(): Promise<Link> {
    return openLink(this.#options, this.#keys)
  }

  /** Whether no node has remembered this before; from then on it is, for so long. @throws BridgeError log_unavailable: it may be remembered */
  remember(name: string, forMs: number): Promise<boolean> {
    return this.#link === undefined
      ? Promise.reject(new BridgeError('log_unavailable', this.#away))
      : remember(this.#link, this.#keys.remembered(name), forMs)
  }

  share(): LogShare {
    return { file: this.#window.file, epoch: this.epoch, secret: this.#meta.secret, runs: this.#runs.share(), tail: [] }
  }

  /** To be called when a process that has read the log is gone. */
  readerGone = (): void => this.#window.readerGone()
  runs = (): Runs => this.#runs

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#appender.drain()
    await this.#trimming.stop()
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
        const isNew = link === undefined
        link ??= await openLink(this.#options, this.#keys)
        this.#entering = link
        if (this.#closed.signal.aborted) throw new Error('the log is closed')
        if (isNew) await this.#enter(link)
        await this.#follow(link, () => (delay = minDelayMs))
      } catch (error) {
        if (error instanceof Overrun) this.#overrun = true
        link?.end(error instanceof Error ? error : toBridgeError(error))
        this.#leave(link?.failure ?? error)
      }
      if (this.#closed.signal.aborted) return
      await pause(delay, undefined, { signal: this.#closed.signal }).catch(() => undefined)
      delay = Math.min(delay * 2, maxDelayMs)
    }
  }

  #leave(error: unknown): void {
    const { reason } = explain(error, whereIs(this.#options))
    const news = this.#link !== undefined || this.#away !== reason
    this.#begun.resolve()
    this.#link = undefined
    this.#away = reason
    this.#appender.shut(reason)
    if (news && !this.#closed.signal.aborted) this.#report(new BridgeError('log_unavailable', reason, { cause: error }))
  }

  /** Goes on where this node was, or begins anew with what there is. */
  async #enter(link: Link): Promise<void> {
    const old = { meta: this.#meta, runs: this.#runs, window: this.#window, overrun: this.#overrun }
    const { meta, window } = await nextGround({ link, old, appender: this.#appender }, this.#options, this.#keys)
    this.#meta = meta
    this.#runs = runsOf(meta)
    if (window === old.window) return
    this.#window = window
    this.#overrun = false
    this.#handover.lost()
    this.#appender.followed(window.state.head)
    this.#report(new BridgeError('log_unavailable', lostMessage))
    await this.#trimming.settled()
    await old.window.close()
  }

  /** Takes in what comes, until the link ends. `onBegun`: all that is there at first could be read. */
  async #follow(link: Link, onBegun: () => void): Promise<never> {
    // Before anything is accepted: what this version cannot read stands in front of it.
    const first = await this.#read(link, cursorAt(this.#window, link.server.now), 0)
    await this.#take(first)
    onBegun()
    this.#entering = undefined
    this.#link = link
    const footing = { link, epoch: this.epoch, server: this.#meta.server, known: () => this.head() }
    this.#appender.open(footing)
    this.#canaries.start(footing)
    this.#begun.resolve()
    try {
      let next = this.#read(link, first.cursor)
      for (;;) {
        const batch = await next
        next = this.#read(link, batch.cursor)
        // It is looked at when what came before it is taken in.
        next.catch(() => undefined)
        await this.#take(batch)
      }
    } finally {
      this.#canaries.stop()
    }
  }

  #read(link: Link, cursor: Cursor, waitMs = blockMs): Promise<Batch> {
    return readBatch(link.follower, this.#keys, cursor, waitMs, (error) => this.#report(error))
  }

  async #take(batch: Batch): Promise<void> {
    if (batch.epoch !== undefined && batch.epoch !== this.epoch) throw new Error('another node has begun a new epoch')
    // A pack of which a full disk had let in a part is read again as a whole.
    const entries = batch.entries.filter(({ stored }) => stored.position > this.head())
    const onFilled = (filled: readonly Stored[]): void => {
      this.#handover.entries(filled)
      this.#appender.followed(this.head())
    }
    await this.#window.fill(entries, { onFilled })
    if (entries.length > 0 && this.#window.surplus) this.#trimming.soon()
    if (batch.obstacle !== undefined) throw batch.obstacle
    // What is in front of a canary may not be here yet when there was too much for one reading.
    this.#canaries.cameBack(batch.canaries, batch.whole)
  }
}
