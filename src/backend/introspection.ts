import type { Identity } from '../core/identity.ts'
import { BridgeError } from '../errors.ts'
import { AnswerCache } from './answer-cache.ts'
import { type Asking, observed } from './asking.ts'
import { Call, type CallOptions } from './call.ts'
import type { ReadClaims } from './read-claims.ts'

export interface IntrospectionOptions extends CallOptions, Asking {
  readonly clientId: string
  readonly clientSecret: string
  /** Reads and checks what the authorization server says, as if it stood in a JWT. */
  readonly readClaims: ReadClaims
}

type Answered = { readonly identity: Identity; readonly until?: number }

/** Asks an authorization server about opaque tokens (RFC 7662). */
export class Introspection {
  readonly #options: IntrospectionOptions
  readonly #call: Call
  readonly #answers: AnswerCache<Answered>
  readonly #authorization: string

  constructor(options: IntrospectionOptions) {
    const { cacheMs, now, observer, clientId, clientSecret } = options
    this.#options = options
    this.#call = new Call(options)
    this.#answers = new AnswerCache({ cacheMs, now, onHit: () => observer.answeredFromCache('introspection') })
    // RFC 6749 2.3.1: both are form-encoded first.
    this.#authorization = `Basic ${Buffer.from(`${formEncode(clientId)}:${formEncode(clientSecret)}`).toString('base64')}`
  }

  /**
   * @throws BridgeError token_signature: the token is not active, and the server does not say why; what `readClaims` throws; unavailable when there is no
   * answer that can be used
   */
  async login(token: string): Promise<Identity> {
    const { identity } = await this.#answers.ask([token], () => observed('introspection', this.#options, () => this.#ask(token)))
    return identity
  }

  close(): void {
    this.#call.close()
  }

  async #ask(token: string): Promise<Answered> {
    const answer = await this.#call.post(
      { authorization: this.#authorization, 'content-type': 'application/x-www-form-urlencoded' },
      new URLSearchParams({ token, token_type_hint: 'access_token' }).toString(),
    )
    if (answer.status === 401 || answer.status === 403)
      throw this.#call.failure(
        `answers ${answer.status}: it does not know SIDECAST_INTROSPECTION_CLIENT_ID and _CLIENT_SECRET, or does not let them ask`,
      )
    if (answer.status !== 200) throw this.#call.unexpected(answer)
    const claims = answer.json()
    // RFC 7662 2.2: nothing more is said about a token that has expired, was revoked, was never issued, or is for others.
    if (claims.active === false) throw new BridgeError('token_signature', 'the authorization server says that the token is not active')
    if (claims.active !== true) throw this.#call.failure('answers without "active": true or false')
    const identity = this.#options.readClaims(claims)
    return { identity, ...(identity.expiresAt === undefined ? {} : { until: identity.expiresAt }) }
  }
}

const formEncode = (text: string): string => new URLSearchParams({ '': text }).toString().slice(1)
