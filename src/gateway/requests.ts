import type { Socket } from 'socket.io'
import type { Hub } from '../core/hub.ts'
import { isName } from '../core/name.ts'
import type { Session } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import { Allowance } from './allowance.ts'
import { toRefusal } from './refusal.ts'

export interface RequestOptions {
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly onFailure: (error: unknown) => void
}

/** Answers what a client asks for: `sidecast:join` and `sidecast:leave`. */
export function answerRequests(socket: Socket, session: Session, hub: Hub, { now, onFailure }: RequestOptions): void {
  const allowance = new Allowance(now)

  const answer = (event: string, handle: (room: string) => Promise<void>): void => {
    socket.on(event, (...words: readonly unknown[]) => {
      const [body] = words
      // Socket.IO puts it behind whatever the client has sent.
      const reply = words.at(-1)
      respond(body, handle).then(
        (room) => acknowledge(reply, { ok: true, room }),
        (thrown: unknown) => {
          const { code, text, cause } = toRefusal(thrown)
          if (code === 'unavailable') onFailure(cause)
          acknowledge(reply, { ok: false, error: { code, message: text } })
        },
      )
    })
  }

  const respond = async (body: unknown, handle: (room: string) => Promise<void>): Promise<string> => {
    const room = typeof body === 'object' && body !== null && 'room' in body ? body.room : undefined
    if (typeof room !== 'string' || !isName(room)) throw new BridgeError('invalid_request')
    if (!allowance.take()) throw new BridgeError('rate_limited')
    await handle(room)
    return room
  }

  answer('sidecast:join', (room) => hub.join(session, room))
  answer('sidecast:leave', (room) => hub.leave(session, room))
}

function acknowledge(reply: unknown, answer: object): void {
  if (typeof reply === 'function') reply(answer)
}
