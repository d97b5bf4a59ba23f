import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type PeerSession, Peers } from '../../src/core/peers.ts'
import { Link } from '../../src/log/redis/link.ts'
import { RedisPresence } from '../../src/presence/redis-presence.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'

const key = '{test}:presence'
let redis: TestRedis
const open: TestNode[] = []

beforeEach(async () => {
  redis = await startRedis()
})
afterEach(async () => {
  for (const node of open.splice(0)) await node.presence.close()
  await redis.close()
})

/** A node as far as its presence goes: who is connected here, and who it believes is connected elsewhere. */
interface TestNode {
  readonly presence: RedisPresence
  readonly peers: Peers
  /** What its operator was told. */
  readonly failures: readonly string[]
  connect(session: string, ...rooms: readonly string[]): void
  disconnect(session: string): void
  /** Ends its connections to Redis as a broken network does, and every attempt, until it is called with `false`. */
  cut(lasting?: boolean): void
  knows(...sessions: readonly string[]): Promise<void>
  /** Resolves when another node has been taken for gone so many times. */
  missed(times: number): Promise<void>
}

function startNode(name: string): TestNode {
  const peers = new Peers()
  const own = new Map<string, PeerSession>()
  const links = new Set<Link>()
  const failures: string[] = []
  let away = false
  let gone = 0
  const presence = new RedisPresence({
    key,
    node: name,
    open: async () => {
      if (away) throw new Error('there is no network')
      const endpoint = { servers: [{ host: '127.0.0.1', port: redis.port }], tls: false, database: 0 }
      const link = await Link.open({ endpoint, timeoutMs: 2000 }, '{test}:meta')
      links.add(link)
      return link
    },
    onFailure: (error) => failures.push(String(error)),
  })
  const known = (): readonly string[] => [...peers.sessions()].map(({ session, rooms }) => [session, ...rooms].join(' ')).toSorted()
  const node: TestNode = {
    presence,
    peers,
    failures,
    connect(session, ...rooms) {
      const opened = {
        session,
        user: `user of ${session}`,
        token: {},
        connectedAt: Date.now(),
        transport: 'websocket',
        rooms,
        expiresAt: null,
        attachedAt: 0,
      }
      own.set(session, opened)
      presence.announce([{ kind: 'opened', session: opened }])
    },
    disconnect(session) {
      own.delete(session)
      presence.announce([{ kind: 'closed', session }])
    },
    cut(lasting = false) {
      away = lasting
      for (const link of links) link.end(new Error('the network is broken'))
      links.clear()
    },
    async knows(...sessions) {
      while (known().join() !== sessions.join()) await setTimeout(10)
      expect(known()).toEqual(sessions)
    },
    async missed(times) {
      while (gone < times) await setTimeout(10)
    },
  }
  presence.follow({
    changed: (from, changes) => peers.apply(from, changes),
    gone: (from) => {
      peers.forget(from)
      gone++
    },
    asked: () =>
      presence.announce([{ kind: 'all-begin' }, ...[...own.values()].map((session) => ({ kind: 'opened', session }) as const), { kind: 'all-end' }]),
    due: () => undefined,
  })
  open.push(node)
  return node
}

test('every node knows the sessions of all others, also one that comes later, until they close or their node leaves', async () => {
  const one = startNode('one')
  const two = startNode('two')
  one.connect('a', 'hall')
  two.connect('b')
  await one.knows('b')
  await two.knows('a hall')
  const three = startNode('three')
  await three.knows('a hall', 'b')
  one.presence.announce([{ kind: 'rooms', session: 'a', entered: ['yard'], left: ['hall'] }])
  await three.knows('a yard', 'b')
  await two.knows('a yard')
  expect(three.peers.countMatches({ users: [], rooms: ['yard'], sessions: [], all: false }, { users: [], sessions: [] })).toBe(1)
  two.disconnect('b')
  await three.knows('a yard')
  open.splice(open.indexOf(one), 1)
  await one.presence.close()
  await three.knows()
})

test('a node that is silent is forgotten with all its sessions, and known again when it is back', async () => {
  const one = startNode('one')
  const two = startNode('two')
  one.connect('a')
  two.connect('b')
  await two.knows('a')
  one.cut(true)
  // What happens meanwhile nobody hears of.
  one.connect('c')
  await two.knows()
  // The one without a network forgets nobody: it cannot know.
  await one.knows('b')
  one.cut(false)
  await two.knows('a', 'c')
})

test('after a Redis that has lost everything, all is told anew', async () => {
  const one = startNode('one')
  const two = startNode('two')
  one.connect('a')
  await two.knows('a')
  await redis.kill()
  one.connect('b')
  one.disconnect('a')
  await redis.start()
  await redis.command('FLUSHALL')
  await two.knows('b')
})

test('a message that is missing is noticed, and all is asked for', async () => {
  const one = startNode('one')
  const two = startNode('two')
  one.connect('a')
  await two.knows('a')
  // What a node asks for when it begins has been told to it: the second round is answered to nothing but the gap.
  for (const number of [998, 1998]) {
    two.peers.forget('one')
    // Between this message and the last one there must have been others.
    await redis.command('XADD', key, '*', 'm', JSON.stringify({ node: 'one', number, kind: 'beat' }))
    await two.knows('a')
  }
})

test('a node that was taken for gone is asked for all that it has, whatever it says first and however lately somebody has asked', async () => {
  const one = startNode('one')
  const two = startNode('two')
  one.connect('a', 'hall')
  await two.knows('a hall')
  const leave = () => redis.command('XADD', key, '*', 'm', JSON.stringify({ node: 'one', number: 999, kind: 'bye' }))
  await leave()
  await two.missed(1)
  // Its next words are of some of its sessions, and not of all.
  one.connect('b')
  await two.knows('a hall', 'b')
  await leave()
  await two.missed(2)
  one.disconnect('b')
  await two.knows('a hall')
})

test('a node that is closed while it is still connecting ends all the same', async () => {
  const one = startNode('one')
  open.splice(open.indexOf(one), 1)
  await one.presence.close()
  expect(one.failures).toEqual([])
})

test('what is too old to be of use goes, and what is nobody’s message is passed over', async () => {
  for (let index = 1; index <= 500; index++) await redis.command('XADD', key, `${index}-0`, 'm', 'nonsense')
  const one = startNode('one')
  const two = startNode('two')
  one.connect('a')
  await redis.command('XADD', key, '*', 'm', 'nonsense')
  one.connect('b')
  await two.knows('a', 'b')
  while (Number(await redis.command('XLEN', key)) > 200) await setTimeout(20)
})

test('of a node of a later version what is understood counts, and the rest is passed over', async () => {
  const one = startNode('one')
  one.connect('a')
  const two = startNode('two')
  await two.knows('a')
  const tell = (message: object) => redis.command('XADD', key, '*', 'm', JSON.stringify({ version: 7, readableFrom: 1, node: 'later', ...message }))
  const session = {
    session: 'b',
    user: '7',
    token: {},
    connectedAt: 1,
    transport: 'webtransport',
    rooms: ['hall'],
    expiresAt: null,
    attachedAt: 0,
    mood: 'good',
  }
  await tell({
    number: 1,
    kind: 'changes',
    changes: [{ kind: 'all-begin' }, { kind: 'mood', session: 'b' }, { kind: 'opened', session, why: 'new' }, { kind: 'all-end' }],
  })
  await tell({ number: 2, kind: 'weather', forecast: 'rain' })
  await two.knows('a', 'b hall')
  await tell({ number: 3, kind: 'changes', changes: [{ kind: 'rooms', session: 'b', entered: ['yard'], left: [] }] })
  await two.knows('a', 'b hall yard')
  await tell({ number: 4, kind: 'bye' })
  await two.knows('a')
  expect(two.failures).toEqual([])
})

test('a node whose messages would be misunderstood is not counted, and the operator is told once', async () => {
  const one = startNode('one')
  const two = startNode('two')
  one.connect('a')
  await two.knows('a')
  const tell = (readableFrom: number, message: object) =>
    redis.command('XADD', key, '*', 'm', JSON.stringify({ version: 7, readableFrom, node: 'later', ...message }))
  const session = { session: 'b', user: '7', token: {}, connectedAt: 1, transport: 'websocket', rooms: [], expiresAt: null, attachedAt: 0 }
  await tell(1, { number: 1, kind: 'changes', changes: [{ kind: 'opened', session }] })
  await two.knows('a', 'b')
  await tell(7, { number: 2, kind: 'changes', changes: [{ kind: 'opened', session: { ...session, session: 'c' } }] })
  await tell(7, { number: 3, kind: 'beat' })
  await two.knows('a')
  one.connect('d')
  await two.knows('a', 'd')
  expect(two.failures).toEqual([expect.stringContaining('node later is of a later version')])
})
