import type { Socket } from 'socket.io'
import type { Credentials } from '../core/credentials.ts'
import type { Hub } from '../core/hub.ts'
import type { Identity } from '../core/identity.ts'
import type { Observer, ResumeRefusal } from '../core/observer.ts'
import { BridgeError } from '../errors.ts'
import type { Pids } from './pid.ts'
import { toRefusal } from './refusal.ts'
import { forgetToken, readToken, type TokenSource } from './token-source.ts'

/** How long a refused client has to read why, before its connection is closed: it could try again on it without limit. */
const refusalMs = 200

export interface HandshakeOptions {
  readonly hub: Hub
  /** Who it is. @throws BridgeError token_missing when nothing was shown that says so, and the other refusals of logins */
  readonly login: (credentials: Credentials) => Promise<Identity>
  readonly pids: Pids
  readonly newSessionId: () => string
  readonly observer: Observer
  readonly tokenSources: readonly TokenSource[]
  readonly sessionsPerUser: number
  readonly draining: () => boolean
  /** Hears the precise reason of a refusal; the client gets a code and a fixed text. */
  readonly onRefused: (refusal: BridgeError, address: string) => void
}

/** What a handshake has decided. */
export interface Admission {
  readonly identity: Identity
  readonly session: string
  /** Where the session goes on; absent: it starts now. */
  readonly after?: number
  readonly reason?: ResumeRefusal
}

/** Socket.IO middleware that lets in who has a valid login token; `socket.data` is then the Admission. Never throws and never rejects: either would end the process. */
export function createHandshake(options: HandshakeOptions) {
  return (socket: Socket, next: (refusal?: Error) => void): void => {
    const address = socket.handshake.address
    const answered = admit(socket, options).then(
      (admission) => {
        socket.data = admission
        next()
      },
      (thrown: unknown) => {
        const refusal = toRefusal(thrown)
        next(Object.assign(new Error(refusal.text), { data: { code: refusal.code, message: refusal.text, retry: refusal.retryable } }))
        setTimeout(() => socket.conn.close(), refusalMs).unref()
        options.observer.handshakeRefused(refusal.code)
        options.onRefused(refusal, address)
      },
    )
    // Somebody else's code may throw what cannot even be looked at, or logged.
    answered.catch((error: unknown) => {
      options.observer.failed(error)
      setTimeout(() => socket.conn.close(), refusalMs).unref()
    })
  }
}

async function admit(socket: Socket, options: HandshakeOptions): Promise<Admission> {
  const { hub, pids, observer } = options
  const { handshake } = socket
  const token = readToken(handshake, options.tokenSources)
  const { pid, offset }: Readonly<Record<string, unknown>> = handshake.auth
  forgetToken(socket)
  const identity = await options.login({ ...(token === undefined ? {} : { token }), forwarded: {}, address: handshake.address })
  if (options.draining()) throw new BridgeError('draining')

  // From here on in one turn, up to and with the connection step: what is decided now still holds then.
  hub.requireUnrevoked(identity)
  const claimed = typeof pid === 'string' ? pids.read(pid, identity.user) : undefined
  if (hub.countSessions(identity.user, claimed) >= options.sessionsPerUser) throw new BridgeError('session_limit')
  const fresh = (reason?: ResumeRefusal): Admission => {
    if (reason !== undefined) observer.resumeRefused(reason)
    const session = options.newSessionId()
    tell(socket, pids.issue(session, identity.user))
    return { identity, session, ...(reason === undefined ? {} : { reason }) }
  }
  if (typeof offset !== 'string') return fresh()
  if (typeof pid === 'string' && claimed === undefined) return fresh('session')
  const plan = hub.planResume(identity.user, claimed, offset)
  if ('refused' in plan) return fresh(plan.refused)
  if (claimed === undefined) return { ...fresh(), after: plan.after }
  // The same pid makes the stock client report `recovered`.
  tell(socket, pids.issue(claimed, identity.user))
  return { identity, session: claimed, after: plan.after }
}

/** Sets the pid that the CONNECT packet tells the client. A private field of Socket.IO (4.8); a test pins it. */
function tell(socket: Socket, pid: string): void {
  Object.assign(socket, { pid })
}
