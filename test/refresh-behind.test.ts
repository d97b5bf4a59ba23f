import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Publisher } from '../src/core/access.ts'
import type { Draft } from '../src/core/draft.ts'
import type { HubOptions } from '../src/core/hub.ts'
import type { Identity } from '../src/core/identity.ts'
import { Session } from '../src/core/session.ts'
import { newFolder } from './log/folders.ts'
import { Stage } from './membership/stage.ts'
import { MemoryConnection } from './support/memory-connection.ts'

const backend: Publisher = { name: 'test', scopes: ['publish', 'read', 'admin'] }

async function startStage(options: Partial<HubOptions> = {}) {
  const stage = new Stage(newFolder(), options)
  await stage.open()
  const { hub, log } = stage
  let names = 0
  return {
    stage,
    hub,
    log,
    /** Publishes some events to a room, each with a name of its own. */
    async publish(room: string, count: number) {
      const to = { users: [], rooms: [room], sessions: [], all: false }
      const draft = (): Draft => ({ event: `${room}${names++}`, data: 'null', to, except: { users: [], sessions: [] }, volatile: false })
      await hub.publish(backend, Array.from({ length: count }, draft))
    },
    /** A session of a client that takes nothing by itself. */
    connect(rooms: readonly string[], after?: number) {
      const connection: MemoryConnection = new MemoryConnection(4, () => hub.detach(session), after)
      const session: Session = new Session('s', login(rooms), connection, stage.now)
      hub.attach(session, after === undefined ? {} : { after })
      return { connection, session }
    },
    [Symbol.asyncDispose]: () => stage.close(),
  }
}

const login = (rooms: readonly string[]): Identity => ({ user: 'ada', rooms, grants: [] })

/** Lets the client take everything until its session is live. */
async function takeAll({ connection, session }: { readonly connection: MemoryConnection; readonly session: Session }): Promise<void> {
  while (connection.take(1) > 0 || !session.live) await setImmediate()
}

/** What it got, in short. */
const told = ({ taken }: MemoryConnection) =>
  taken.map((item) => {
    if ('event' in item) return item.event
    if ('ready' in item) return `ready ${item.ready}`
    return 'room' in item ? `${item.entered ? 'joined' : 'left'} ${item.room} ${item.by}` : `expiring ${item.expiresAt}`
  })

test('who is behind gets what its tokens opened when it was published, and then hears what has become of its rooms', async () => {
  await using at = await startStage()
  const ada = at.connect(['a'])
  await at.publish('a', 6)
  expect(ada.session.live).toBe(false)
  at.hub.refresh(ada.session, login(['b']))
  await at.publish('a', 1)
  await at.publish('b', 1)
  at.hub.refresh(ada.session, login(['c']))
  await at.publish('b', 1)
  await at.publish('c', 1)
  await takeAll(ada)
  expect(told(ada.connection)).toEqual(['ready a', 'a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'b7', 'c9', 'left a token', 'joined c token'])
  ada.connection.close('transport')
})

test('who is caught up gets nothing more of what its new token does not open', async () => {
  await using at = await startStage()
  const before = at.connect(['a', 'b'])
  const after = at.log.head()
  before.connection.close('transport')
  for (let n = 0; n < 5; n++) {
    await at.publish('a', 1)
    await at.publish('b', 1)
  }
  const ada = at.connect(['a', 'b'], after)
  at.hub.refresh(ada.session, login(['b', 'c']))
  await at.publish('a', 1)
  await at.publish('c', 1)
  // On its way already.
  const inFlight = ['a0', 'b1']
  await takeAll(ada)
  expect(told(ada.connection)).toEqual([...inFlight, 'b3', 'b5', 'b7', 'b9', 'c11', 'ready b,c'])
  ada.connection.close('transport')
})

test('a right that ends while a session is behind holds for what was published before', async () => {
  await using at = await startStage({ authorizeRoom: { authorize: async () => ({ givenAt: at.stage.now, until: at.stage.now + 1000 }) } })
  const ada = at.connect([])
  await at.hub.roomRequests.join(ada.session, 'a')
  await at.publish('a', 6)
  expect(ada.session.live).toBe(false)
  at.stage.pass(1000)
  await at.publish('a', 1)
  at.hub.expire()
  await takeAll(ada)
  expect(told(ada.connection)).toEqual(['ready ', 'joined a request', 'a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'left a request'])
  ada.connection.close('transport')
})

test('a right ends with the first event that comes after it, however long ago somebody has looked', async () => {
  await using at = await startStage({ authorizeRoom: { authorize: async () => ({ givenAt: at.stage.now, until: at.stage.now + 1000 }) } })
  const ada = at.connect([])
  await at.hub.roomRequests.join(ada.session, 'a')
  await at.publish('a', 1)
  at.stage.pass(1000)
  await at.publish('a', 1)
  await takeAll(ada)
  expect(told(ada.connection)).toEqual(['ready ', 'joined a request', 'a0', 'left a request'])
  ada.connection.close('transport')
})
