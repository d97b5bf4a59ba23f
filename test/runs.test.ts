import { expect, onTestFinished, test } from 'vitest'
import type { Publisher } from '../src/core/access.ts'
import type { Draft } from '../src/core/draft.ts'
import type { Stored } from '../src/core/entry.ts'
import { Hub } from '../src/core/hub.ts'
import { toRuns } from '../src/core/run.ts'
import { Session } from '../src/core/session.ts'
import { EmbeddedLog } from '../src/log/embedded.ts'
import { createMetrics } from '../src/metrics/metrics.ts'
import { newFolder } from './log/folders.ts'
import { HeldLog } from './support/held-log.ts'
import { MemoryConnection } from './support/memory-connection.ts'

const backend: Publisher = { name: 'test', scopes: ['publish', 'read', 'admin'] }

const toRoom = (room: string, event: string, except: readonly string[] = []): Draft => ({
  event,
  data: 'null',
  to: { users: [], rooms: [room], sessions: [], all: false },
  except: { users: except, sessions: [] },
  volatile: false,
})

/** A hub on a log that the test can hold back. */
async function openHub() {
  const onFailure = (error: unknown): never => {
    throw error
  }
  const now = () => 1_000_000_000
  const keepAll = { retentionAgeMs: 1e15, retentionEvents: 1e9, dedupeWindowMs: 1e15 }
  const log = new HeldLog(await EmbeddedLog.open({ directory: newFolder(), durability: 'process', now, onFailure, ...keepAll }))
  onTestFinished(() => log.close())
  const metrics = createMetrics({ sessions: () => 0, unackedMessages: () => 0, onFailure })
  let ids = 0
  const hub = new Hub({
    log,
    observer: metrics.observer,
    now,
    newId: () => `e${ids++}`,
    retentionAgeMs: 1e15,
    maxRoomsPerSession: 10,
    revocationAgeMs: 1e15,
    clockToleranceMs: 0,
  })
  const attach = (user: string, capacity = Number.POSITIVE_INFINITY) => {
    const connection: MemoryConnection = new MemoryConnection(capacity, () => hub.detach(session))
    const session: Session = new Session(user, { user, rooms: ['r'], grants: [] }, connection, now())
    hub.attach(session, {})
    return connection
  }
  const publish = async (...drafts: readonly Draft[]) => (await hub.publish(backend, drafts)).map((result) => 'matched' in result && result.matched)
  return { log, attach, publish }
}

const eventsOf = ({ taken }: MemoryConnection): readonly string[] => taken.flatMap((item) => ('event' in item ? [item.event] : []))

/** Lets other work have its turn until it holds; bounded. */
async function eventually(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !holds(); turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(holds()).toBe(true)
}

test('a session that comes in the middle of a run gets what stands behind its place, and each event counts whom it was for', async () => {
  const { log, attach, publish } = await openHub()
  const first = attach('first')
  log.hold()
  const before = publish(toRoom('r', 'a'), toRoom('r', 'b'))
  await eventually(() => log.head() === 2)
  const second = attach('second')
  const after = publish(toRoom('r', 'c'), toRoom('r', 'd'))
  await eventually(() => log.head() === 4)
  log.release()
  expect(await before).toEqual([1, 1])
  expect(await after).toEqual([2, 2])
  expect(eventsOf(first)).toEqual(['a', 'b', 'c', 'd'])
  expect(eventsOf(second)).toEqual(['c', 'd'])
})

test('a client that is full within a run reads on behind the run, and gets each event once', async () => {
  const { attach, publish } = await openHub()
  const slow = attach('slow', 3)
  const quick = attach('quick')
  const names = Array.from({ length: 8 }, (_, number) => `${number}`)
  expect(await publish(...names.map((name) => toRoom('r', name)))).toEqual(names.map(() => 2))
  expect(await publish(toRoom('r', 'behind'))).toEqual([2])
  await eventually(() => {
    slow.take(1)
    return eventsOf(slow).length === names.length + 1
  })
  expect(eventsOf(slow)).toEqual([...names, 'behind'])
  expect(eventsOf(quick)).toEqual([...names, 'behind'])
})

test('what is in a run is of one moment and for the same sessions, and small; all is in order', () => {
  const event = (position: number, { to, except }: Draft, time = 0, data = 'null') =>
    ({ position, time, entry: { kind: 'event', id: `${position}`, event: 'e', data, to, except, volatile: false } }) as const
  const removal = { position: 7, time: 1, entry: { kind: 'membership', room: 'r', member: { user: 'u' }, present: false } } as const
  const large = 'x'.repeat(10_000)
  const entries: readonly Stored[] = [
    event(1, toRoom('r', 'e')),
    event(2, toRoom('r', 'e')),
    event(3, toRoom('s', 'e')),
    event(4, toRoom('s', 'e', ['u'])),
    event(5, toRoom('s', 'e', ['u']), 1),
    event(6, toRoom('s', 'e', ['u']), 1),
    removal,
    event(8, toRoom('s', 'e', ['u']), 1, large),
    event(9, toRoom('s', 'e', ['u']), 1, large),
    event(10, toRoom('s', 'e', ['u']), 1, large.repeat(9)),
  ]
  const positions = [...toRuns(entries)].map((next) => ('entry' in next ? next.position : next.map(({ position }) => position)))
  expect(positions).toEqual([[1, 2], [3], [4], [5, 6], 7, [8], [9], [10]])
  expect([...toRuns([])]).toEqual([])
})
