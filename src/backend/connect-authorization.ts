import type { Credentials } from '../core/credentials.ts'
import type { Identity } from '../core/identity.ts'
import { BridgeError, toBridgeError } from '../errors.ts'
import { AnswerCache } from './answer-cache.ts'
import { Application, type ApplicationOptions } from './application.ts'
import { observed } from './asking.ts'
import { readMoment } from './moment.ts'
import type { ReadClaims } from './read-claims.ts'

export interface ConnectAuthorizationOptions extends ApplicationOptions {
  /** Reads `sub`, `rooms`, `jti` and `sid`. */
  readonly readClaims: ReadClaims
}

type Answered = { readonly identity: Identity; readonly until?: number }

/** Asks the application who is behind credentials that only it can read: a session cookie, an opaque token. */
export class ConnectAuthorizations {
  readonly #options: ConnectAuthorizationOptions
  readonly #application: Application
  readonly #answers: AnswerCache<Answered>

  constructor(options: ConnectAuthorizationOptions) {
    const { cacheMs, now, observer } = options
    this.#options = options
    this.#application = new Application(options)
    this.#answers = new AnswerCache({ cacheMs, now, onHit: () => observer.answeredFromCache('connect') })
  }

  /**
   * @throws BridgeError token_missing: nothing is shown, or the application does not take it for a login; token_signature: the token is not one of the
   * application's; unavailable when there is no answer that can be used
   */
  async login({ token, forwarded, address }: Credentials): Promise<Identity> {
    const headers = this.#application.forwardable(forwarded)
    if (token === undefined && Object.keys(headers).length === 0)
      throw new BridgeError('token_missing', 'neither a token nor a header that is forwarded')
    const question = { ...(token === undefined ? {} : { token }), address }
    const { identity } = await this.#answers.ask([question, headers], () => observed('connect', this.#options, () => this.#ask(question, headers)))
    return identity
  }

  close(): void {
    this.#application.call.close()
  }

  async #ask(question: { readonly token?: string; readonly address: string }, headers: Credentials['forwarded']): Promise<Answered> {
    const { call } = this.#application
    const asked = this.#options.now()
    const answer = await this.#application.ask(question, headers)
    if (answer.status === 401 || answer.status === 403)
      throw new BridgeError(question.token === undefined ? 'token_missing' : 'token_signature', `the application answers ${answer.status}`)
    if (answer.status !== 200) throw this.#application.unexpected(answer)
    const said = answer.json()
    const expiresAt = readMoment(said, 'expiresAt', call)
    // Its clock may be ahead, but nobody has logged in after the question: a login from the future would outlive revocations.
    const iat = Math.min(readMoment(said, 'issuedAt', call) ?? asked, asked)
    if (expiresAt !== undefined && expiresAt <= asked)
      throw new BridgeError('token_expired', `the application says that it expired at ${new Date(expiresAt).toISOString()}`)
    const read = this.#read({ sub: said.user, rooms: said.rooms, jti: said.jti, sid: said.sid })
    // Whenever the login was: what the application says now of rooms is newer than what was said of them before, and older than all that follows.
    const identity = { ...read, issuedAt: asked, iat }
    return expiresAt === undefined ? { identity } : { identity: { ...identity, expiresAt }, until: expiresAt }
  }

  #read(claims: Readonly<Record<string, unknown>>): Identity {
    try {
      return this.#options.readClaims(claims)
    } catch (thrown) {
      // It is the application's mistake, not that of the client, whose login may be good.
      throw this.#application.call.failure(`answers with a user or rooms that cannot be used: ${toBridgeError(thrown).message}`)
    }
  }
}
