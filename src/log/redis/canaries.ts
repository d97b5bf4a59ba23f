import type { Footing } from './appender.ts'
import { toList, toText } from './connection.ts'
import { formatAddress } from './endpoint.ts'
import { explain, Refused } from './failure.ts'
import type { LogKeys } from './keys.ts'
import { Laggards } from './laggards.ts'
import { canaryScript } from './scripts.ts'

export interface CanariesOptions {
  readonly keys: LogKeys
  /** Names this node to the others. */
  readonly writer: string
  /** From one to the next. */
  readonly everyMs: number
  /** What the last one has shown: why nothing can be written; undefined: it can. */
  readonly onJudged: (refusal: string | undefined) => void
  readonly onFailure: (error: unknown) => void
}

const forgetWriterMs = 60_000

/** Entries that prove that what is written comes back. They also find out when the data are not what they were. Times by the clock of `performance`. */
export class Canaries {
  readonly #options: CanariesOptions
  readonly #laggards = new Laggards()
  #footing: Footing | undefined
  #timer: NodeJS.Timeout | undefined
  #count = 0
  #sent = new Map<string, number>()
  /** When the newest was sent of those that came back, or the link began. */
  #provedAt = 0
  /** When the last one was sent of those that came back. */
  #cameBackAt = 0
  #probing = false

  constructor(options: CanariesOptions) {
    this.#options = options
  }

  /** How long ago the way was open for certain. */
  get ageMs(): number {
    return Math.round(performance.now() - this.#provedAt)
  }

  start(footing: Footing): void {
    this.#footing = footing
    this.#sent.clear()
    this.#provedAt = performance.now()
    this.#timer = setInterval(() => this.#sendSoon(footing), this.#options.everyMs).unref()
    this.#sendSoon(footing)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#footing = undefined
  }

  /** Resolves to true when all that stands in the log now has been read, to false when that takes too long. */
  catchUp(): Promise<boolean> {
    return this.#laggards.wait(() => this.#probeSoon())
  }

  /** `whole`: everything in front of these has been read. */
  cameBack(tokens: readonly string[], whole: boolean): void {
    for (const token of tokens) {
      const sentAt = this.#sent.get(token)
      if (sentAt === undefined) continue
      this.#sent.delete(token)
      this.#provedAt = Math.max(this.#provedAt, sentAt)
      this.#cameBackAt = sentAt
    }
    if (whole) this.#laggards.release(this.#cameBackAt)
  }

  /** One at a time: whoever comes meanwhile shares the next. */
  #probeSoon(): void {
    const footing = this.#footing
    if (this.#probing || footing === undefined) return
    this.#probing = true
    const probe = async (): Promise<void> => {
      const at = performance.now()
      await this.#send(footing)
      this.#probing = false
      if (this.#laggards.newestAt > at) this.#probeSoon()
    }
    probe().catch(this.#options.onFailure)
  }

  #sendSoon(footing: Footing): void {
    this.#send(footing).catch(this.#options.onFailure)
  }

  async #send({ link, epoch, server, known }: Footing): Promise<void> {
    const { keys, writer, onJudged } = this.#options
    const token = `${writer}.${++this.#count}`
    this.#sent.set(token, performance.now())
    const args = [epoch, server, String(known()), writer, token, String(forgetWriterMs)]
    try {
      const answer = await link.commands.run(canaryScript, [keys.meta, keys.log, keys.canary, keys.writers], args)
      const [status] = toList(answer).map(toText)
      if (status !== 'ok') link.end(new Error(`the log in Redis is not the one that this node knows (${status})`))
      onJudged(undefined)
    } catch (error) {
      this.#sent.delete(token)
      if (link.failure === undefined) onJudged(explain(error, formatAddress(link.address)).reason)
      if (error instanceof Refused && /READONLY|MASTERDOWN/.test(error.message)) link.end(error)
    }
  }
}
