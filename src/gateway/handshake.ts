import type { Socket } from 'socket.io'
import type { Credentials } from '../core/credentials.ts'
import type { Hub } from '../core/hub.ts'
import type { Identity } from '../core/identity.ts'
import type { Observer, ResumeRefusal } from '../core/observer.ts'
import type { Forwarded } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import type { Limits } from './limits.ts'
import type { Pids } from './pid.ts'
import { toAnswer, toRefusal } from './refusal.ts'
import { forgetToken, readForwarded, readToken, type TokenSource } from './token-source.ts'
import type { Turns } from './turns.ts'

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
  /** Headers, by their names in lower case, that are kept with the session for the application that decides on it. */
  readonly forward: readonly string[]
  readonly sessionsPerUser: number
  readonly limits: Limits
  readonly turns: Turns
  readonly addressOf: (socket: Socket) => string
  readonly draining: () => boolean
  /** Hears the precise reason of a refusal; the client gets a code and a fixed text. */
  readonly onRefused: (refusal: BridgeError, address: string) => void
}

/** What a handshake has decided. */
export interface Admission {
  readonly identity: Identity
  readonly session: string
  /** The id of the session was made for it. */
  readonly isNew: boolean
  readonly forwarded: Forwarded
  /** Where the session goes on, and the head of the log when that was decided; absent: it starts now. */
  readonly after?: number
  readonly plannedAt?: number
  readonly reason?: ResumeRefusal
}

/** Socket.IO middleware that lets in who has a valid login token; `socket.data` is then the Admission. Never throws and never rejects: either would end the process. */
export function createHandshake(options: HandshakeOptions) {
  const answer = (socket: Socket, next: (refusal?: Error) => void): void => {
    const address = options.addressOf(socket)
    const answered = identify(socket, address, options)
      .then((newcomer) => {
        if (newcomer === undefined) {
          // Without a word: the stock client stays away after a refusal, and comes back, here or elsewhere, when a connection ends.
          options.observer.handshakeRefused('unavailable')
          socket.conn.close()
          return
        }
        const admission = admit(socket, newcomer, options)
        socket.data = admission
        // Socket.IO does the connection step in a later tick, or not at all when the connection has ended by then; what is put behind it comes right after.
        const giveUp = options.hub.places.keep(admission.identity.user, admission.session)
        next()
        process.nextTick(giveUp)
      })
      .catch((thrown: unknown) => {
        const refusal = toRefusal(thrown)
        next(Object.assign(new Error(refusal.text), { data: toAnswer(refusal) }))
        setTimeout(() => socket.conn.close(), refusalMs).unref()
        options.observer.handshakeRefused(refusal.code)
        // What is wrong on our side, or too much already, is not held against anybody.
        if ((refusal.status < 500 || refusal.suspect) && refusal.code !== 'rate_limited') options.limits.refused(address)
        options.onRefused(refusal, address)
      })
    // Somebody else's code may throw what cannot even be looked at, or logged.
    answered.catch((error: unknown) => {
      options.observer.failed(error)
      setTimeout(() => socket.conn.close(), refusalMs).unref()
    })
  }
  return (socket: Socket, next: (refusal?: Error) => void): void => {
    // Who has come so far is not sent away for those who come behind; it may have left, though, while it waited.
    options.turns.take(() => {
      if (socket.conn.readyState === 'open') answer(socket, next)
    })
  }
}

/** Who somebody is, and what was shown with it. */
interface Newcomer {
  readonly identity: Identity
  readonly forwarded: Forwarded
  /** What the client says of the session that it had; undefined or null: nothing. */
  readonly pid: unknown
  readonly offset: unknown
}

/** Undefined: this process does not get to know whether the session can go on. */
async function identify(socket: Socket, address: string, options: HandshakeOptions): Promise<Newcomer | undefined> {
  const { hub, limits } = options
  const { handshake } = socket
  const token = readToken(handshake, options.tokenSources)
  const forwarded = readForwarded(handshake.headers, options.forward)
  const { pid, offset }: Readonly<Record<string, unknown>> = handshake.auth
  forgetToken(socket)
  // Again: between the first request of the connection and what it now says others may have used up what there was.
  const limited = limits.refusalOfLogin(address)
  if (limited !== undefined) throw limited
  const identity = await options.login({ ...(token === undefined ? {} : { token }), forwarded, address })
  // Another node may have got further: one that is behind would tell the client that it has missed something, and send it what it has seen.
  if (typeof offset === 'string' && !(await hub.catchUp(offset))) return undefined
  return { identity, forwarded, pid, offset }
}

/**
 * Decides in one turn, but the connection step comes a few ticks later, behind what others do meanwhile. So a place is kept until then, and `Hub.attach` looks
 * again whether the token was revoked or the session was ended.
 */
function admit(socket: Socket, { identity, forwarded, pid, offset }: Newcomer, options: HandshakeOptions): Admission {
  const { hub, pids, observer } = options
  if (options.draining()) throw new BridgeError('draining')
  hub.requireUnrevoked(identity)
  const claimed = typeof pid === 'string' ? pids.read(pid, identity.user) : undefined
  if (hub.places.count(identity.user, claimed) >= options.sessionsPerUser) throw new BridgeError('session_limit')
  const fresh = (reason?: ResumeRefusal): Admission => {
    if (reason !== undefined) observer.resumeRefused(reason)
    const session = options.newSessionId()
    tell(socket, pids.issue(session, identity.user))
    return { identity, session, isNew: true, forwarded, ...(reason === undefined ? {} : { reason }) }
  }
  if ((pid ?? offset ?? undefined) === undefined) return fresh()
  if (typeof pid === 'string' && claimed === undefined) return fresh('session')
  // Whoever does not say where it was cannot be told what it has missed since.
  if (typeof offset !== 'string') return fresh('gap')
  const plan = hub.planResume(identity.user, claimed, offset)
  if ('refused' in plan) return fresh(plan.refused)
  if (claimed === undefined) return { ...fresh(), ...plan }
  // The same pid makes the stock client report `recovered`.
  tell(socket, pids.issue(claimed, identity.user))
  return { identity, session: claimed, isNew: false, forwarded, ...plan }
}

/** Sets the pid that the CONNECT packet tells the client. A private field of Socket.IO (4.8); a test pins it. */
function tell(socket: Socket, pid: string): void {
  Object.assign(socket, { pid })
}
