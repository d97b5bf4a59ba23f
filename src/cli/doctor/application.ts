import { randomUUID } from 'node:crypto'
import { createReaders } from '../../authorities.ts'
import { type Backend, createBackend } from '../../backend/backend.ts'
import type { Config } from '../../config/config.ts'
import { toBridgeError } from '../../errors.ts'
import { type Finding, ok, problem } from './finding.ts'

/** Nobody is called so, which makes the question harmless. */
const nobody = 'sidecast-doctor'

const cure = 'start the application, correct the address, or let it answer (docs/authorization.md): until then all that it is asked about is refused'

/** Asks as the bridge does, signed, about a user, a room and a token that nobody has: whether there is an answer, and whether it is a no. */
export async function checkApplication(config: Pick<Config, 'jwt' | 'http'>, options: NonNullable<Config['backend']>): Promise<readonly Finding[]> {
  let doubt: string | undefined
  const backend = createBackend({
    ...options,
    ...createReaders(config, Date.now),
    observer: { asked() {}, answeredFromCache() {} },
    journal: {
      failed() {},
      answered() {},
      doubted(_kind, reason) {
        doubt = reason
      },
    },
    newId: randomUUID,
    now: Date.now,
  })
  try {
    return await Promise.all(
      questionsTo(backend, options).map(async ({ url, about, ask, whenAllowed }) => {
        try {
          await ask()
          return whenAllowed
        } catch (thrown) {
          const { code, message, status } = toBridgeError(thrown)
          if (status >= 500) return problem(`${url}: ${message}`, cure)
          if (code === 'room_forbidden' && doubt !== undefined)
            return problem(`${url}: ${doubt}`, 'correct the address; an application that means no by it had better say 403, or "allowed": false')
          return ok(`${url}: asked about ${about}, it says no`)
        }
      }),
    )
  } finally {
    backend.close()
  }
}

interface Question {
  readonly url: string | undefined
  readonly about: string
  readonly ask: () => Promise<unknown>
  readonly whenAllowed: Finding
}

function questionsTo({ rooms, connect, introspection }: Backend, { roomsUrl, connectUrl, introspection: server }: NonNullable<Config['backend']>) {
  const token = `${nobody}-${randomUUID()}`
  const questions: (Question | undefined)[] = [
    connect && {
      url: connectUrl,
      about: 'a token that nobody has',
      ask: () => connect.login({ token, forwarded: {}, address: '127.0.0.1' }),
      whenAllowed: problem(`${connectUrl}: a token that was made up (${token}) is a login`, 'let it refuse, with 401, what it has not issued'),
    },
    rooms && {
      url: roomsUrl,
      about: `the user ${nobody} and the room ${nobody}`,
      ask: () => rooms.authorize({ id: nobody, identity: { user: nobody }, connection: { forwarded: {} } }, nobody),
      // Perhaps everybody may be everywhere.
      whenAllowed: ok(`${roomsUrl}: asked about the user ${nobody} and the room ${nobody}, which do not exist, it says yes: is that meant?`),
    },
    introspection && {
      url: server?.url,
      about: 'a token that nobody has',
      ask: () => introspection.login(token),
      whenAllowed: problem(`${server?.url}: a token that was made up (${token}) is active`, 'is this the introspection endpoint (RFC 7662)?'),
    },
  ]
  return questions.filter((question) => question !== undefined)
}
