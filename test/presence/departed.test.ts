import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Publisher } from '../../src/core/access.ts'
import type { PeerLink, PeerListener, PeerSession, PresenceChange } from '../../src/core/peers.ts'
import { Session } from '../../src/core/session.ts'
import { newFolder } from '../log/folders.ts'
import { Stage } from '../membership/stage.ts'
import { MemoryConnection } from '../support/memory-connection.ts'

const backend: Publisher = { name: 'test', scopes: ['publish', 'read', 'admin'] }

// The test plays the other processes.
let others: PeerListener
let announced: PresenceChange[]
let stage: Stage
const link: PeerLink = {
  announce: (changes) => void announced.push(...changes),
  follow: (listener) => {
    others = listener
  },
}

beforeEach(async () => {
  announced = []
  stage = new Stage(newFolder(), { link })
  await stage.open()
})
afterEach(() => stage.close())

const at = (session: string, connectedAt = stage.now): PeerSession => {
  return { session, user: '7', token: {}, connectedAt, transport: 'websocket', rooms: [], expiresAt: null, attachedAt: stage.log.head() }
}
const opened = (session: PeerSession): PresenceChange => ({ kind: 'opened', session })

async function ownRoom(session: string): Promise<void> {
  await stage.log.append([{ kind: 'membership', room: 'r', member: { session }, present: true }])
}

/** Longer than a session that is gone may resume. */
async function passAndSweep(): Promise<void> {
  for (let count = 0; count < 4; count++) stage.pass()
  await stage.hub.sweep()
}

function attach(id: string): MemoryConnection {
  const connection: MemoryConnection = new MemoryConnection(Number.POSITIVE_INFINITY, () => stage.hub.detach(session))
  const session: Session = new Session(id, { user: '7', rooms: [], grants: [] }, connection, stage.now)
  stage.hub.attach(session, {})
  return connection
}

test('a session that is connected elsewhere keeps its rooms, and loses them when it is gone there for long enough', async () => {
  await ownRoom('s')
  others.changed('other', [opened(at('s'))])
  await passAndSweep()
  expect(stage.log.sessionsWithMemberships()).toEqual(['s'])
  others.changed('other', [{ kind: 'closed', session: 's' }])
  await stage.hub.sweep()
  expect(stage.log.sessionsWithMemberships()).toEqual(['s'])
  await passAndSweep()
  expect(stage.log.sessionsWithMemberships()).toEqual([])
})

test('sessions that were there before this process are not over when another process has them', async () => {
  await ownRoom('s')
  await stage.close()
  await stage.open()
  others.changed('other', [opened(at('s'))])
  await passAndSweep()
  expect(stage.log.sessionsWithMemberships()).toEqual(['s'])
  others.gone('other')
  await passAndSweep()
  expect(stage.log.sessionsWithMemberships()).toEqual([])
})

test('one that goes on elsewhere is not over because it has ended where it was, whichever is told first', async () => {
  await ownRoom('s')
  others.changed('one', [opened(at('s'))])
  stage.pass()
  others.changed('other', [opened(at('s'))])
  others.changed('one', [{ kind: 'closed', session: 's' }])
  expect(stage.hub.places.count('7')).toBe(1)
  others.gone('one')
  await passAndSweep()
  expect(stage.log.sessionsWithMemberships()).toEqual(['s'])
  expect(stage.hub.places.count('7')).toBe(1)
})

test('a process that was taken for gone has not lost its sessions when it is heard again', async () => {
  await ownRoom('s')
  others.changed('other', [opened(at('s'))])
  others.gone('other')
  others.changed('other', [{ kind: 'all-begin' }, opened(at('s')), { kind: 'all-end' }])
  await passAndSweep()
  expect(stage.log.sessionsWithMemberships()).toEqual(['s'])
  expect(stage.hub.places.count('7')).toBe(1)
})

test('of two connections of one session the later one stays; the earlier may come back unless it is much older', async () => {
  const young = attach('s')
  stage.pass()
  others.changed('other', [opened(at('s'))])
  expect(young.ended).toBe('transport')
  expect(stage.hub.sessions().size).toBe(0)
  expect(stage.hub.places.count('7')).toBe(1)

  // It comes back here: what is known of it elsewhere is older.
  stage.pass()
  const back = attach('s')
  expect(stage.hub.places.count('7')).toBe(1)
  others.changed('late', [opened(at('s', stage.now - 500))])
  expect(back.ended).toBeUndefined()
  expect(stage.hub.places.count('7')).toBe(1)
  for (let count = 0; count < 100; count++) stage.pass()
  others.changed('other', [opened(at('s'))])
  expect(back.ended).toBe('replaced')
})

test('what happens in one turn is told together, and what has cancelled itself out is not told', async () => {
  attach('s')
  await stage.log.append([{ kind: 'membership', room: 'r', member: { user: '7' }, present: true }])
  await setImmediate()
  expect(announced).toMatchObject([
    { kind: 'opened', session: { session: 's', user: '7', rooms: [] } },
    { kind: 'rooms', session: 's', entered: ['r'], left: [] },
  ])
  announced = []
  await stage.log.append([
    { kind: 'membership', room: 'r', member: { user: '7' }, present: false },
    { kind: 'membership', room: 'r', member: { user: '7' }, present: true },
    { kind: 'membership', room: 'q', member: { user: '7' }, present: true },
  ])
  await setImmediate()
  expect(announced).toEqual([{ kind: 'rooms', session: 's', entered: ['q'], left: [] }])
  announced = []
  others.asked()
  expect(announced).toMatchObject([{ kind: 'all-begin' }, { kind: 'opened', session: { session: 's', rooms: ['r', 'q'] } }, { kind: 'all-end' }])
})

test('the others are told of a session before its client is', async () => {
  attach('s')
  // What is written to clients leaves at the end of the tick, behind this.
  await undefined
  expect(announced).toMatchObject([{ kind: 'opened', session: { session: 's' } }])
})

test('a session that a revocation has ended is not counted, however late its process tells of it', async () => {
  const [late, later] = [at('late'), at('later')]
  await stage.hub.revoke(backend, { user: '7' })
  others.changed('other', [opened(late)])
  expect(stage.hub.places.count('7')).toBe(0)
  // Nor is it taken for one that has been there.
  others.changed('other', [
    { kind: 'rooms', session: 'late', entered: ['r'], left: [] },
    { kind: 'closed', session: 'late' },
  ])
  const attachedAt = stage.log.head()
  others.changed('other', [opened({ ...later, attachedAt, token: { iat: stage.now + 1000 } })])
  expect(stage.hub.places.count('7')).toBe(1)
})

test('a process that tells all anew has no other sessions than those', () => {
  others.changed('other', [opened(at('a')), opened(at('b'))])
  others.changed('other', [{ kind: 'all-begin' }, opened(at('b'))])
  expect(stage.hub.places.count('7')).toBe(2)
  others.changed('other', [opened(at('c')), { kind: 'all-end' }])
  expect([...stage.hub.peers.sessions()].map(({ session }) => session)).toEqual(['b', 'c'])
})

test('however many sessions are over, a publisher waits for a part of them only', async () => {
  const sessions = Array.from({ length: 1000 }, (_, index) => `s${index}`)
  await Promise.all(sessions.map(ownRoom))
  others.changed(
    'other',
    sessions.map((session) => opened(at(session))),
  )
  others.gone('other')
  for (let count = 0; count < 4; count++) stage.pass()
  const before = stage.log.head()
  const sweeping = stage.hub.sweep()
  const to = { users: ['7'], rooms: [], sessions: [], all: false }
  const draft = { event: 'e', data: '1', to, except: { users: [], sessions: [] }, volatile: false }
  const [published] = await stage.hub.publish({ name: 'test', scopes: ['publish'] }, [draft])
  await sweeping
  expect(stage.log.sessionsWithMemberships()).toEqual([])
  expect(stage.log.head()).toBe(before + sessions.length + 1)
  const position = published instanceof Error ? undefined : stage.log.positionOf(published?.offset ?? '')
  expect(position).toBeLessThan(before + sessions.length / 2)
})
