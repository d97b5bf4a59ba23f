import { mayForward } from '../core/forwarded.ts'
import type { Forwarded } from '../core/session.ts'
import type { BridgeError } from '../errors.ts'
import type { Asking } from './asking.ts'
import { type Answer, Call, type CallOptions } from './call.ts'
import { sign } from './signature.ts'

export interface ApplicationOptions extends CallOptions, Asking {
  /** What the calls are signed with; absent: they are not. */
  readonly secret?: Uint8Array
  /** Headers of the browser that are handed on, by lower-case names. */
  readonly forward: readonly string[]
  readonly newId: () => string
}

/** Questions to the application itself: JSON, signed, with the headers of the browser that are on the list. */
export class Application {
  readonly call: Call
  readonly #options: ApplicationOptions

  constructor(options: ApplicationOptions) {
    this.#options = options
    this.call = new Call(options)
  }

  /** @throws BridgeError unavailable */
  ask(question: object, forwarded: Forwarded): Promise<Answer> {
    const { secret, newId, now } = this.#options
    const body = JSON.stringify(question)
    const headers = { ...this.forwardable(forwarded), 'content-type': 'application/json' }
    return this.call.post(secret === undefined ? headers : { ...headers, ...sign(body, { secret, newId, now }) }, body)
  }

  /** For an answer whose status stands for nothing here. */
  unexpected(answer: Answer): BridgeError {
    if (answer.status !== 400) return this.call.unexpected(answer)
    return this.call.failure('answers 400: does the application have the same SIDECAST_AUTHORIZE_SECRET, and the right time?')
  }

  /** Checked here again, whoever has chosen them before: a session cookie that goes where it should not is somebody's login. */
  forwardable(forwarded: Forwarded): Forwarded {
    const names = this.#options.forward.filter((name) => mayForward(name) && Object.hasOwn(forwarded, name))
    return Object.fromEntries(names.map((name) => [name, forwarded[name] ?? '']))
  }
}
