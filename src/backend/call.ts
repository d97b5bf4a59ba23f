import { isUtf8 } from 'node:buffer'
import http from 'node:http'
import https from 'node:https'
import { BridgeError } from '../errors.ts'
import { Slots } from './slots.ts'

/** The largest answer that is read. A yes with its rooms is a few hundred bytes. */
const maxAnswerBytes = 64 * 1024

/** Calls to one address at once: about as many workers as a PHP pool has. */
const maxConcurrent = 32

/** Calls that wait for one of these. More could not be answered in time. */
const maxWaiting = 1024

export interface CallOptions {
  /** The address, from the configuration only. */
  readonly url: string
  /** The variable that it comes from: for messages that name the cure. */
  readonly setting: string
  /** From the question to the whole answer, waiting for its turn included. */
  readonly timeoutMs: number
}

export interface Answer {
  readonly status: number
  /** @throws BridgeError unavailable when it is not a JSON object */
  json(): Readonly<Record<string, unknown>>
}

/** The way to one address of the application: POST only, no redirects, connections used again, everything bounded. Nothing that is sent is ever logged. */
export class Call {
  readonly #options: CallOptions
  readonly #url: URL
  readonly #agent: http.Agent
  readonly #slots = new Slots(maxConcurrent, maxWaiting)
  #closed = false

  constructor(options: CallOptions) {
    this.#options = options
    this.#url = new URL(options.url)
    const { Agent } = this.#url.protocol === 'https:' ? https : http
    this.#agent = new Agent({ keepAlive: true, maxSockets: maxConcurrent, maxFreeSockets: maxConcurrent })
  }

  /** The answer, whatever its status. @throws BridgeError unavailable, with the reason for the log */
  async post(headers: Readonly<Record<string, string>>, body: string): Promise<Answer> {
    const impatience = AbortSignal.timeout(this.#options.timeoutMs)
    await this.#slots.take(impatience)
    try {
      return await this.#send(headers, body, impatience, true)
    } finally {
      this.#slots.give()
    }
  }

  /** Something is wrong with the answer: a no, and a line for the operator. */
  failure(what: string, cause?: unknown): BridgeError {
    return new BridgeError('unavailable', `${this.#options.setting} (${this.#url.host}) ${what}`, { cause })
  }

  /** For an answer whose status stands for nothing here. */
  unexpected({ status }: Answer): BridgeError {
    return this.failure(`answers ${status}${hintAt(status)}`)
  }

  close(): void {
    this.#closed = true
    this.#agent.destroy()
  }

  async #send(headers: Readonly<Record<string, string>>, body: string, impatience: AbortSignal, mayRepeat: boolean): Promise<Answer> {
    if (this.#closed) throw this.failure('is not asked any more: the bridge is stopping')
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    let answering = false
    const request = this.#open(headers, Buffer.byteLength(body), impatience)
    request.on('error', reject)
    request.on('response', (response) => {
      answering = true
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('error', reject)
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes <= maxAnswerBytes) chunks.push(chunk)
        else response.destroy(this.failure(`answers with more than ${maxAnswerBytes} bytes`))
      })
      response.on('end', () => resolve(this.#toAnswer(response, Buffer.concat(chunks))))
    })
    request.end(body)
    try {
      return await promise
    } catch (error) {
      if (error instanceof BridgeError) throw error
      if (impatience.aborted) throw this.failure(`does not answer within ${this.#options.timeoutMs} ms`)
      // The other side closed a connection that had been idle, while the question was on its way.
      const broken = error instanceof Error && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
      if (broken && mayRepeat && request.reusedSocket && !answering) return this.#send(headers, body, impatience, false)
      throw this.failure(`cannot be asked: ${error instanceof Error ? error.message : String(error)}`, error)
    }
  }

  #open(headers: Readonly<Record<string, string>>, length: number, signal: AbortSignal): http.ClientRequest {
    const { request } = this.#url.protocol === 'https:' ? https : http
    const own = { accept: 'application/json', 'accept-encoding': 'identity', 'content-length': length, 'user-agent': 'sidecast' }
    try {
      return request(this.#url, { method: 'POST', agent: this.#agent, signal, headers: { ...headers, ...own } })
    } catch (cause) {
      throw this.failure('cannot be asked: a header that is forwarded cannot be sent', cause)
    }
  }

  #toAnswer(response: http.IncomingMessage, body: Buffer): Answer {
    const type = response.headers['content-type'] ?? ''
    return {
      status: response.statusCode ?? 0,
      json: () => {
        if (!/^application\/(?:[\w.-]+\+)?json *(?:;|$)/i.test(type))
          throw this.failure(`answers with ${type === '' ? 'no Content-Type' : `Content-Type ${JSON.stringify(type)}`}, not application/json`)
        try {
          // Bytes that are no text would all become the same character: two users could become one.
          const value: unknown = isUtf8(body) ? JSON.parse(body.toString()) : undefined
          if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
        } catch {
          // Falls through: what was sent is not repeated in a log.
        }
        throw this.failure('answers with a body that is not a JSON object')
      },
    }
  }
}

/** What is most often behind a status that is no answer. */
function hintAt(status: number): string {
  if (status >= 300 && status < 400) return ', a redirect, which is not followed: set the final address'
  if (status === 404) return ': is its path right?'
  if (status === 405) return ': is its path right, and does it take POST?'
  if (status === 419) return ': is its path taken out of CSRF protection?'
  return status >= 500 ? ': its own log says why' : ''
}
