import { expect, test, vi } from 'vitest'
import type { Publisher } from '../src/core/access.ts'
import type { Draft } from '../src/core/draft.ts'
import type { Hub } from '../src/core/hub.ts'
import { Session } from '../src/core/session.ts'
import { newFolder } from './log/folders.ts'
import { Stage } from './membership/stage.ts'
import { MemoryConnection } from './support/memory-connection.ts'

const backend: Publisher = { name: 'test', scopes: ['publish', 'read', 'admin'] }
const missed = Array.from({ length: 350 }, (_, number) => `missed.${number}`)

const toRoom = (event: string): Draft => ({
  event,
  data: 'null',
  to: { users: [], rooms: ['team'], sessions: [], all: false },
  except: { users: [], sessions: [] },
  volatile: false,
})

/** A member of the room who is away from `after` on, while a lot is published there. */
async function startWithSomebodyAway() {
  const stage = new Stage(newFolder())
  await stage.open()
  const { hub, log } = stage
  await hub.setMembership(backend, 'ada', 'team', true)
  const after = log.head()
  await hub.publish(backend, missed.map(toRoom))
  const resume = (from: number): MemoryConnection => {
    const connection: MemoryConnection = new MemoryConnection(20, () => hub.detach(session))
    const session: Session = new Session('s', { user: 'ada', rooms: [], grants: [] }, connection, stage.now)
    hub.attach(session, { after: from })
    return connection
  }
  const setMember = (present: boolean) => hub.setMembership(backend, 'ada', 'team', present)
  return { resume, setMember, after, log, hub, now: stage.now, [Symbol.asyncDispose]: () => stage.close() }
}

/** Lets the client take everything until its session is live. */
async function takeAll(connection: MemoryConnection): Promise<void> {
  while (!connection.taken.some((item) => 'ready' in item)) {
    connection.take(50)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const eventsOf = ({ taken }: MemoryConnection): readonly string[] => taken.flatMap((item) => ('event' in item ? [item.event] : []))

test('a membership that ends and begins again while a session is being caught up takes nothing from it', async () => {
  await using away = await startWithSomebodyAway()
  const connection = away.resume(away.after)
  connection.take(15)
  await away.setMember(false)
  // Some of it is read while the user is out.
  for (let turn = 0; turn < 5; turn++) {
    connection.take(15)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await away.setMember(true)
  await takeAll(connection)
  expect(eventsOf(connection)).toEqual(missed)
  connection.close('transport')
})

test('a session whose room was lost while it was away hears of it before anything that it could resume after', async () => {
  await using away = await startWithSomebodyAway()
  await away.setMember(false)
  const connection = away.resume(away.after)
  await takeAll(connection)
  expect(connection.taken).toEqual([
    { position: away.after, room: 'team', entered: false, by: 'backend' },
    { position: away.log.head(), ready: [] },
  ])
  connection.close('transport')
})

test('the rooms are taken over at the start of a long resume, and again only when something was said of them', async () => {
  await using away = await startWithSomebodyAway()
  const takeOver = vi.spyOn(away.log, 'memberships')
  const first = away.resume(away.after)
  await takeAll(first)
  expect(eventsOf(first)).toEqual(missed)
  // Of the user and of the session.
  expect(takeOver).toHaveBeenCalledTimes(2)
  first.close('transport')

  const second = away.resume(away.after)
  second.take(15)
  await away.setMember(true)
  await takeAll(second)
  expect(takeOver).toHaveBeenCalledTimes(6)
  second.close('transport')
})

test.each([
  ['the log has only gone on', async () => undefined, undefined],
  ['its user was disconnected', (hub: Hub) => hub.disconnect(backend, { user: 'ada' }), 'transport'],
  ['it was ended itself', (hub: Hub) => hub.disconnect(backend, { session: 's' }), 'transport'],
] as const)('between the plan of a resume and the connection %s', async (_, happen, ended) => {
  await using away = await startWithSomebodyAway()
  const { hub, log, now } = away
  const plan = hub.planResume('ada', 's', log.offsetOf(away.after))
  await happen(hub)
  await hub.publish(backend, [toRoom('last')])
  const connection: MemoryConnection = new MemoryConnection(1000, () => hub.detach(session))
  const session: Session = new Session('s', { user: 'ada', rooms: [], grants: [] }, connection, now)
  if ('refused' in plan) throw new Error(plan.refused)
  hub.attach(session, plan)
  // One that does not go on comes back, and is told so then.
  expect(connection.ended).toBe(ended)
  expect(hub.places.count('ada')).toBe(ended === undefined ? 1 : 0)
})
