import type { Socket } from 'socket.io'
import type { Credentials } from '../core/credentials.ts'
import type { Hub } from '../core/hub.ts'
import type { Identity } from '../core/identity.ts'
import { isName } from '../core/name.ts'
import type { Observer, SessionRequest } from '../core/observer.ts'
import type { Session } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import { Allowance } from './allowance.ts'
import { toAnswer, toRefusal } from './refusal.ts'

/** Joins and leaves, as many as a page makes when it opens; each is an entry in the log, which keeps as many as it keeps for everybody. */
const roomRequests = { burst: 200, perSecond: 10 } as const

/** Each costs the verification of a signature, or a question to the application. Tokens of five seconds can be kept up. */
const refreshes = { burst: 10, perSecond: 0.5 } as const

export interface RequestOptions {
  readonly hub: Hub
  readonly login: (credentials: Credentials) => Promise<Identity>
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly observer: Pick<Observer, 'requestRefused'>
  readonly onFailure: (error: unknown) => void
  /** Hears the precise reason why a token was refused. */
  readonly onRefused: (refusal: BridgeError, address: string) => void
}

type Body = Readonly<Record<string, unknown>>

/** Answers what a client asks for: `sidecast:join`, `sidecast:leave` and `sidecast:refresh`. */
export function answerRequests(socket: Socket, session: Session, address: string, options: RequestOptions): void {
  const requests = new Requests(session, address, options)
  socket.on('sidecast:join', (...words: readonly unknown[]) => requests.answer('join', words))
  socket.on('sidecast:leave', (...words: readonly unknown[]) => requests.answer('leave', words))
  socket.on('sidecast:refresh', (...words: readonly unknown[]) => requests.answer('refresh', words))
}

/** Those of one session. Most sessions never ask for anything: what counts their requests is made with the first. */
class Requests {
  readonly #session: Session
  readonly #address: string
  readonly #options: RequestOptions
  #rooms: Allowance | undefined
  #logins: Allowance | undefined
  /** Settles when the refreshes so far are done. */
  #refreshed: Promise<unknown> | undefined

  constructor(session: Session, address: string, options: RequestOptions) {
    this.#session = session
    this.#address = address
    this.#options = options
  }

  answer(request: SessionRequest, words: readonly unknown[]): void {
    // Socket.IO puts it behind whatever the client has sent.
    const reply = words.at(-1)
    this.#handle(request, toBody(words[0])).then(
      (answer) => acknowledge(reply, { ok: true, ...answer }),
      (thrown: unknown) => {
        const { onFailure, onRefused, observer } = this.#options
        const refusal = toRefusal(thrown)
        const { code, cause } = refusal
        observer.requestRefused(request, code)
        // Who could not say whether it is allowed has told why already.
        if (code === 'unavailable' && !(thrown instanceof BridgeError && thrown.code === code)) onFailure(cause)
        if (code.startsWith('token_')) onRefused(refusal, this.#address)
        acknowledge(reply, { ok: false, error: toAnswer(refusal) })
      },
    )
  }

  async #handle(request: SessionRequest, body: Body): Promise<object> {
    switch (request) {
      case 'join':
        return this.#join(body)
      case 'leave':
        return this.#leave(body)
      case 'refresh':
        return this.#refresh(body)
      default:
        return request satisfies never
    }
  }

  async #join(body: Body): Promise<object> {
    const room = toRoom(body)
    const { token } = body
    if (token !== undefined && token !== null && typeof token !== 'string') throw new BridgeError('invalid_request')
    this.#takeRoomRequest()
    await this.#options.hub.roomRequests.join(this.#session, room, token ?? undefined)
    return { room }
  }

  async #leave(body: Body): Promise<object> {
    const room = toRoom(body)
    this.#takeRoomRequest()
    await this.#options.hub.roomRequests.leave(this.#session, room)
    return { room }
  }

  async #refresh({ token }: Body): Promise<object> {
    const { hub, login, now } = this.#options
    const session = this.#session
    if (typeof token !== 'string' || token === '') throw new BridgeError('invalid_request')
    this.#logins ??= new Allowance({ ...refreshes, now })
    if (!this.#logins.take()) throw new BridgeError('rate_limited')
    // One after the other: a token that takes longer to verify must not take the place of one that was sent after it.
    const turn = (this.#refreshed ?? Promise.resolve()).then(async () => {
      hub.refresh(session, await login({ token, forwarded: session.connection.forwarded, address: this.#address }))
      return { expiresAt: session.identity.expiresAt ?? null, rooms: [...session.rooms.keys()] }
    })
    this.#refreshed = turn.catch(() => undefined)
    return turn
  }

  #takeRoomRequest(): void {
    this.#rooms ??= new Allowance({ ...roomRequests, now: this.#options.now })
    if (!this.#rooms.take()) throw new BridgeError('rate_limited')
  }
}

function toBody(body: unknown): Body {
  return typeof body === 'object' && body !== null ? { ...body } : {}
}

/** @throws BridgeError invalid_request */
function toRoom({ room }: Body): string {
  if (typeof room !== 'string' || !isName(room)) throw new BridgeError('invalid_request')
  return room
}

function acknowledge(reply: unknown, answer: object): void {
  if (typeof reply === 'function') reply(answer)
}
