import type { DraftParser } from '../core/draft.ts'
import type { Instruction } from '../core/instruction.ts'
import type { RevocationParser } from '../core/revocation-request.ts'
import { BridgeError } from '../errors.ts'
import type { Addressing } from './addressing.ts'

/** What the backend can say by message beside events; it takes effect in order with the events around it. */
type Command = Exclude<Instruction, { readonly kind: 'event' | 'revoke' }>

/**
 * `join` and `leave` are about one user and one room, `disconnect` about one user or one session: a message succeeds or fails as a whole.
 * @throws BridgeError invalid_command, invalid_event
 */
export function readCommand(name: string, said: Addressing | undefined, parseDraft: DraftParser): Command {
  if (said?.event !== undefined) throw new BridgeError('invalid_command', 'a message has sidecast-command or sidecast-event, not both')
  if (said?.to === undefined) throw new BridgeError('invalid_command', `${label(name)} names nobody: ${usage}`)
  // The gate of events knows what a good name is.
  const { users, rooms, sessions, all } = parseDraft({ event: 'command', to: said.to }).to
  const [user, room, session] = [users[0], rooms[0], sessions[0]]
  const one = users.length <= 1 && rooms.length <= 1 && sessions.length <= 1 && !all
  switch (name) {
    case 'join':
    case 'leave':
      if (!one || user === undefined || room === undefined || session !== undefined) break
      return { kind: 'membership', user, room, present: name === 'join' }
    case 'disconnect':
      if (!one || room !== undefined || (user === undefined) === (session === undefined)) break
      return { kind: 'disconnect', member: user === undefined ? { session: session ?? '' } : { user } }
  }
  throw new BridgeError('invalid_command', `${label(name)} cannot be carried out: ${usage}`)
}

/**
 * `revoke`: the body says what, as over HTTP. A user in a header would be a second word on the same thing.
 * @throws BridgeError invalid_command, and what the body throws
 */
export function readRevocation(said: Addressing | undefined, body: () => unknown, parse: RevocationParser): Instruction {
  if (said !== undefined && Object.keys(said).length > 0)
    throw new BridgeError('invalid_command', 'the command "revoke" takes all that it needs from the body: no other sidecast-* headers')
  try {
    return { kind: 'revoke', request: parse(body() ?? {}) }
  } catch (error) {
    if (!(error instanceof BridgeError && error.code === 'invalid_revocation')) throw error
    throw new BridgeError('invalid_command', `the command "revoke": ${error.message}`, { errors: error.errors })
  }
}

const usage =
  'join and leave need one user in sidecast-users and one room in sidecast-rooms; disconnect needs one user, or one session in sidecast-sessions; revoke has a body'

const label = (name: string): string => `the command ${JSON.stringify(name.slice(0, 50))}`
