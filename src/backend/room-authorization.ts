import type { RoomAuthorization } from '../core/room-authorizer.ts'
import type { Forwarded } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import { AnswerCache } from './answer-cache.ts'
import { Application, type ApplicationOptions } from './application.ts'
import { observed } from './asking.ts'
import { readMoment } from './moment.ts'

/** Of a session, what the application is told. */
interface Asker {
  readonly id: string
  readonly identity: { readonly user: string }
  readonly connection: { readonly forwarded: Forwarded }
}

/** Asks the application whether a session may be in a room. */
export class RoomAuthorizations {
  readonly #options: ApplicationOptions
  readonly #application: Application
  readonly #answers: AnswerCache<RoomAuthorization>

  constructor(options: ApplicationOptions) {
    const { cacheMs, now, observer } = options
    this.#options = options
    this.#application = new Application(options)
    this.#answers = new AnswerCache({ cacheMs, now, onHit: () => observer.answeredFromCache('rooms') })
  }

  /** @throws BridgeError room_forbidden; unavailable when there is no answer that can be used: that is a no */
  authorize({ id: session, identity: { user }, connection }: Asker, room: string): Promise<RoomAuthorization> {
    const forwarded = this.#application.forwardable(connection.forwarded)
    return this.#answers.ask([user, room, forwarded], () => observed('rooms', this.#options, () => this.#ask({ user, room, session }, forwarded)))
  }

  close(): void {
    this.#application.call.close()
  }

  async #ask(question: object, forwarded: Forwarded): Promise<RoomAuthorization> {
    const { call } = this.#application
    // Before it is asked: what happens to the user meanwhile is newer than the answer.
    const givenAt = this.#options.now()
    const answer = await this.#application.ask(question, forwarded)
    // A server says the same when there is nothing at its address: a no either way, but one that an operator should know of.
    if (answer.status === 404) this.#options.journal.doubted('rooms', call.unexpected(answer).message)
    if (answer.status === 403 || answer.status === 404) throw new BridgeError('room_forbidden', `the application answers ${answer.status}`)
    if (answer.status !== 200) throw this.#application.unexpected(answer)
    const said = answer.json()
    if (said.allowed === false) throw new BridgeError('room_forbidden', 'the application does not allow it')
    if (said.allowed !== true) throw call.failure('answers without "allowed": true or false')
    const until = readMoment(said, 'expiresAt', call)
    if (until === undefined) return { givenAt }
    if (until <= givenAt) throw new BridgeError('room_forbidden', 'the application allows it up to a moment that is past')
    return { until, givenAt }
  }
}
