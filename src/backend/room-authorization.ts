import type { RoomAuthorization } from '../core/room-authorizer.ts'
import type { Session } from '../core/session.ts'
import { BridgeError } from '../errors.ts'
import { AnswerCache } from './answer-cache.ts'
import { Application, type ApplicationOptions } from './application.ts'
import { observed } from './asking.ts'
import { parseMoment } from './moment.ts'

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
  authorize(session: Session, room: string): Promise<RoomAuthorization> {
    const { user } = session.identity
    const forwarded = this.#application.forwardable(session.connection.forwarded)
    return this.#answers.ask([user, room, forwarded], () =>
      observed('rooms', this.#options, () => this.#ask({ user, room, session: session.id }, forwarded)),
    )
  }

  close(): void {
    this.#application.call.close()
  }

  async #ask(question: { readonly user: string; readonly room: string; readonly session: string }, forwarded: Session['connection']['forwarded']) {
    const { call } = this.#application
    // Before it is asked: what happens to the user meanwhile is newer than the answer.
    const givenAt = this.#options.now()
    const answer = await this.#application.ask(question, forwarded)
    if (answer.status === 403 || answer.status === 404) throw new BridgeError('room_forbidden', `the application answers ${answer.status}`)
    if (answer.status !== 200) throw call.unexpected(answer)
    const { allowed, expiresAt } = answer.json()
    if (allowed === false) throw new BridgeError('room_forbidden', 'the application does not allow it')
    if (allowed !== true) throw call.failure('answers without "allowed": true or false')
    if (expiresAt === undefined || expiresAt === null) return { givenAt }
    const until = parseMoment(expiresAt)
    if (until === undefined) throw call.failure('answers with an expiresAt that is neither seconds nor milliseconds since 1970 nor RFC 3339')
    if (until <= givenAt) throw new BridgeError('room_forbidden', 'the application allows it up to a moment that is past')
    return { until, givenAt }
  }
}
