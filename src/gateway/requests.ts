import type { Socket } from 'socket.io'
import type { Credentials } from '../core/credentials.ts'
import type { Hub } from '../core/hub.ts'
import type { Identity } from '../core/identity.ts'
import { isName } from '../core/name.ts'
import type { Session } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import { Allowance } from './allowance.ts'
import { toRefusal } from './refusal.ts'

/** Joins and leaves, as many as a page makes when it opens; each is an entry in the log, which keeps as many as it keeps for everybody. */
const roomRequests = { burst: 200, perSecond: 10 } as const

/** Each costs the verification of a signature, or a question to the application. Tokens of five seconds can be kept up. */
const refreshes = { burst: 10, perSecond: 0.5 } as const

export interface RequestOptions {
  readonly hub: Hub
  readonly login: (credentials: Credentials) => Promise<Identity>
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly onFailure: (error: unknown) => void
  /** Hears the precise reason why a token was refused. */
  readonly onRefused: (refusal: BridgeError, address: string) => void
}

type Body = Readonly<Record<string, unknown>>

/** Answers what a client asks for: `sidecast:join`, `sidecast:leave` and `sidecast:refresh`. */
export function answerRequests(socket: Socket, session: Session, address: string, options: RequestOptions): void {
  const { hub, now } = options
  const rooms = new Allowance({ ...roomRequests, now })
  const logins = new Allowance({ ...refreshes, now })
  /** Settles when the refreshes so far are done. */
  let refreshed: Promise<unknown> = Promise.resolve()

  const answer = (event: string, handle: (body: Body) => Promise<object>): void => {
    socket.on(event, (...words: readonly unknown[]) => {
      // Socket.IO puts it behind whatever the client has sent.
      const reply = words.at(-1)
      handle(toBody(words[0])).then(
        (answer) => acknowledge(reply, { ok: true, ...answer }),
        (thrown: unknown) => {
          const refusal = toRefusal(thrown)
          const { code, text, cause } = refusal
          // Who could not say whether it is allowed has told why already.
          if (code === 'unavailable' && !(thrown instanceof BridgeError && thrown.code === code)) options.onFailure(cause)
          if (code.startsWith('token_')) options.onRefused(refusal, address)
          acknowledge(reply, { ok: false, error: { code, message: text } })
        },
      )
    })
  }

  answer('sidecast:join', async (body) => {
    const room = toRoom(body)
    const { token } = body
    if (token !== undefined && token !== null && typeof token !== 'string') throw new BridgeError('invalid_request')
    if (!rooms.take()) throw new BridgeError('rate_limited')
    await hub.join(session, room, token ?? undefined)
    return { room }
  })

  answer('sidecast:leave', async (body) => {
    const room = toRoom(body)
    if (!rooms.take()) throw new BridgeError('rate_limited')
    await hub.leave(session, room)
    return { room }
  })

  answer('sidecast:refresh', async ({ token }) => {
    if (typeof token !== 'string' || token === '') throw new BridgeError('invalid_request')
    if (!logins.take()) throw new BridgeError('rate_limited')
    // One after the other: a token that takes longer to verify must not take the place of one that was sent after it.
    const turn = refreshed.then(async () => {
      hub.refresh(session, await options.login({ token, forwarded: session.connection.forwarded, address }))
      return { expiresAt: session.identity.expiresAt ?? null, rooms: [...session.rooms.keys()] }
    })
    refreshed = turn.catch(() => undefined)
    return turn
  })
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
