import type { DraftParser } from '../core/draft.ts'
import type { Hub } from '../core/hub.ts'
import type { Observer } from '../core/observer.ts'
import { BridgeError, toBridgeError } from '../errors.ts'
import { parseJsonBytes } from './body.ts'
import { type Line, LineSplitter } from './line-splitter.ts'
import { toRefusedResult } from './problem.ts'
import { type EventResult, type Publication, toResults } from './publication.ts'
import type { IngressRequest, IngressResponse } from './route.ts'

export interface NdjsonOptions {
  readonly hub: Hub
  readonly parseDraft: DraftParser
  readonly observer: Observer
  /** The longest line. */
  readonly maxEventBytes: number
  readonly draining: () => boolean
  /** A stream in which nothing moves for so long is ended. */
  readonly idleMs: number
  /** How long the client then has to take the answer. */
  readonly lingerMs: number
}

// What one stream holds in memory: so many groups that are being stored, of so many lines at most, none longer than what one read brought plus one line.
const maxGroupLines = 500
const maxPendingGroups = 8

/**
 * Reads lines and answers each, in order, as soon as it is stored.
 *
 * States: reading -> ending (the client is done, or left, or the node drains) -> over, when every line that was read has its answer.
 * Reading waits while `maxPendingGroups` are pending; a group is pending until the client has taken its answers.
 */
export async function answerLines(request: IngressRequest, response: IngressResponse, options: NdjsonOptions): Promise<void> {
  const { publisher } = response.locals
  const { hub, observer, draining, idleMs, lingerMs } = options
  const splitter = new LineSplitter(options.maxEventBytes)
  const pending: Promise<void>[] = []
  let answered = Promise.resolve()
  const idle = setTimeout(() => {
    if (!response.writableEnded) response.end(toLine(toRefusedResult(new BridgeError('request_timeout'))))
    setTimeout(() => request.destroy(), lingerMs).unref()
  }, idleMs)

  const store = async (lines: readonly Line[]): Promise<readonly EventResult[]> => {
    const publications = lines.map((line) => toPublication(line, options))
    try {
      if (draining()) throw new BridgeError('draining')
      return await toResults(hub, publisher, observer, publications)
    } catch (thrown) {
      const error = toBridgeError(thrown)
      if (error.code === 'internal') observer.failed(thrown)
      // The bad lines are bad all the same; the good ones may be sent again.
      return publications.map((publication) => {
        const refusal = publication instanceof BridgeError ? publication : error
        observer.publishRefused(refusal.code)
        return toRefusedResult(refusal)
      })
    }
  }
  const answer = async (lines: readonly Line[]) => {
    // In this order: the hub is asked at once, so that groups are stored in order, while the answers of those before are being written.
    const before = answered
    const results = store(lines)
    const text = (await results).map(toLine).join('')
    await before
    if (response.writableEnded || response.destroyed) return
    if (!response.write(text)) await drained(response)
    idle.refresh()
  }
  const submit = async (lines: readonly Line[]) => {
    answered = answer(lines)
    pending.push(answered)
    if (pending.length >= maxPendingGroups) await pending.shift()
  }

  response.writeHead(202, { 'Content-Type': 'application/x-ndjson' })
  response.flushHeaders()
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      idle.refresh()
      for (const lines of groups(splitter.push(chunk))) await submit(lines)
      if (draining() || response.writableEnded) break
    }
    // A client that broke off half-way did not finish its last line.
    const last = request.complete ? splitter.end() : undefined
    if (last !== undefined && !isBlank(last)) await submit([last])
  } catch (error) {
    // The client left: what it had sent in whole lines is stored all the same.
    if (request.complete) throw error
  } finally {
    await answered
    clearTimeout(idle)
  }
  if (!response.writableEnded) response.end()
}

function* groups(lines: Iterable<Line>): Generator<readonly Line[]> {
  let group: Line[] = []
  for (const line of lines) {
    if (isBlank(line)) continue
    group.push(line)
    if (group.length < maxGroupLines) continue
    yield group
    group = []
  }
  if (group.length > 0) yield group
}

function isBlank(line: Line): boolean {
  return line !== 'too-long' && line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d)
}

function toPublication(line: Line, { parseDraft, maxEventBytes }: NdjsonOptions): Publication {
  if (line === 'too-long') return new BridgeError('event_too_large', `The line is longer than ${maxEventBytes} bytes.`)
  try {
    return parseDraft(parseJsonBytes(line))
  } catch (error) {
    return toBridgeError(error)
  }
}

function toLine(result: EventResult): string {
  return `${JSON.stringify(result)}\n`
}

/** Resolves when the client has taken what was written, or is gone. */
function drained(response: IngressResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done)
      resolve()
    }
    response.on('drain', done).on('close', done)
    if (response.destroyed) done()
  })
}
