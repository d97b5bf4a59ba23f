import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'

const transports = ['websocket', 'polling'] as const

/** The connection is lost, and the client stays away meanwhile. */
async function away(session: TestSession, meanwhile: () => Promise<unknown>): Promise<void> {
  const { socket } = session
  socket.io.reconnection(false)
  session.cut()
  await session.until(() => !socket.connected)
  await meanwhile()
  socket.io.reconnection(true)
  socket.connect()
}

const names = ({ received }: TestSession): readonly string[] => received.map(({ event }) => event)

describe.each(transports)('over %s', (transport) => {
  const connect = (bridge: TestBridge, user: string, claims: Readonly<Record<string, unknown>> = {}, token?: () => string) =>
    connectSession(bridge.publicUrl, { token: token ?? login(user, claims), transports: [transport] })

  async function settled(bridge: TestBridge, session: TestSession): Promise<readonly string[]> {
    const { offset } = await bridge.publish({ event: 'end', to: { all: true } })
    await session.until(() => session.received.at(-1)?.offset === offset)
    return names(session).slice(0, -1)
  }

  test('a client that was away gets what it missed, in order, once, and knows that it was recovered', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7', { rooms: ['team'] })
    const first = await session.notice('sidecast:ready')
    expect(session.socket.recovered).toBe(false)
    await bridge.publish({ event: 'one', to: { users: ['7'] } })
    await session.event(1)
    await away(session, async () => {
      await bridge.publish({ event: 'two', to: { rooms: ['team'] } })
      await bridge.publish({ event: 'not.for.it', to: { users: ['8'] } })
      await bridge.publish({ event: 'excepted', to: { all: true }, except: { users: ['7'] } })
      await bridge.publish({ event: 'three', to: { all: true } })
    })
    const ready = await session.notice('sidecast:ready', 2)
    expect(ready.data).toEqual({ ...Object(first.data), recovered: true })
    expect(session.socket.recovered).toBe(true)
    expect(await settled(bridge, session)).toEqual(['one', 'two', 'three'])
  })

  test('a client that had received nothing yet is recovered all the same', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7')
    await session.notice('sidecast:ready')
    await away(session, () => bridge.publish({ event: 'one', to: { users: ['7'] } }))
    await session.notice('sidecast:ready', 2)
    expect(session.socket.recovered).toBe(true)
    expect(await settled(bridge, session)).toEqual(['one'])
  })

  test('what is volatile reaches who is there, and is not kept for who is not', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7')
    await session.notice('sidecast:ready')
    expect(await bridge.publish({ event: 'seen', to: { users: ['7'] }, volatile: true })).toMatchObject({ matched: 1 })
    await session.event(1)
    await away(session, async () => {
      // The client knows before the bridge does.
      await expect.poll(async () => (await bridge.call('GET', '/v1/users/7')).body.online).toBe(false)
      expect(await bridge.publish({ event: 'missed', to: { users: ['7'] }, volatile: true })).toMatchObject({ matched: 0 })
      await bridge.publish({ event: 'kept', to: { users: ['7'] } })
    })
    await session.notice('sidecast:ready', 2)
    expect(await settled(bridge, session)).toEqual(['seen', 'kept'])
  })

  test('rooms of the login, of the application and of its own request are there again, with what was said in them', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7', { rooms: ['named', 'page:*'] })
    await session.notice('sidecast:ready')
    await bridge.call('PUT', '/v1/rooms/managed/users/7')
    await session.request('sidecast:join', { room: 'page:1' })
    await session.request('sidecast:join', { room: 'page:2' })
    await session.request('sidecast:leave', { room: 'page:2' })
    await away(session, async () => {
      for (const room of ['named', 'managed', 'page:1', 'page:2']) await bridge.publish({ event: room, to: { rooms: [room] } })
    })
    const { data } = await session.notice('sidecast:ready', 2)
    expect(Object(data).rooms.toSorted()).toEqual(['managed', 'named', 'page:1', 'user:7'])
    expect(await settled(bridge, session)).toEqual(['named', 'managed', 'page:1'])
  })

  test('a right that was lost while it was away stays lost, with what was said in the room before', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7', { rooms: ['named'], iat: nowSeconds() })
    await bridge.call('PUT', '/v1/rooms/managed/users/7')
    await session.notice('sidecast:joined')
    await away(session, async () => {
      await bridge.publish({ event: 'before', to: { rooms: ['named', 'managed'] } })
      await bridge.call('DELETE', '/v1/rooms/managed/users/7')
      await bridge.call('DELETE', '/v1/rooms/named/users/7')
      await bridge.publish({ event: 'after', to: { rooms: ['named', 'managed'] } })
    })
    expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true, rooms: ['user:7'] } })
    expect(await bridge.publish({ event: 'now', to: { rooms: ['named', 'managed'] } })).toMatchObject({ matched: 0 })
    expect(await settled(bridge, session)).toEqual([])
  })

  test('what was said while it was out of a room is not caught up on after it is let in again', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7')
    await session.notice('sidecast:ready')
    await bridge.call('PUT', '/v1/rooms/team/users/7')
    await session.notice('sidecast:joined')
    const say = (event: string) => bridge.publish({ event, to: { rooms: ['team'] } })
    await away(session, async () => {
      await say('in')
      await bridge.call('DELETE', '/v1/rooms/team/users/7')
      await say('out')
      await bridge.call('PUT', '/v1/rooms/team/users/7')
      await say('in.again')
    })
    expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true, rooms: expect.arrayContaining(['user:7', 'team']) } })
    expect(await settled(bridge, session)).toEqual(['in', 'in.again'])
  })

  test('a login that no longer names a room brings nothing from it', async () => {
    await using bridge = await startTestBridge()
    const tokens = [login('7', { rooms: ['old', 'both'] }), login('7', { rooms: ['both', 'new'] })]
    let logins = 0
    await using session = connect(bridge, '7', {}, () => tokens[Math.min(logins++, 1)] ?? '')
    await session.notice('sidecast:ready')
    await away(session, async () => {
      for (const room of ['old', 'both']) await bridge.publish({ event: room, to: { rooms: [room] } })
    })
    const { data } = await session.notice('sidecast:ready', 2)
    expect(data).toMatchObject({ recovered: true })
    expect(Object(data).rooms.toSorted()).toEqual(['both', 'new', 'user:7'])
    expect(await settled(bridge, session)).toEqual(['both'])
  })

  test('a login of somebody else goes on with nothing', async () => {
    await using bridge = await startTestBridge()
    let user = '7'
    await using session = connect(bridge, '7', {}, () => login(user))
    await session.notice('sidecast:ready')
    await away(session, async () => {
      await bridge.publish({ event: 'for.seven', to: { users: ['7'] } })
      await bridge.publish({ event: 'for.eight', to: { users: ['8'] } })
      user = '8'
    })
    expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { user: '8', recovered: false, reason: 'session' } })
    expect(session.socket.recovered).toBe(false)
    expect(await settled(bridge, session)).toEqual([])
  })

  test('a client that was away for longer than events are kept is told that there is a gap, and gets no part of them', async () => {
    await using bridge = await startTestBridge({ RETENTION_EVENTS: '5' })
    await using session = connect(bridge, '7')
    await session.notice('sidecast:ready')
    await away(session, async () => {
      const events = Array.from({ length: 400 }, (_, n) => ({ event: 'missed', data: n, to: { users: ['7'] } }))
      expect(await bridge.call('POST', '/v1/events/batch', { events })).toMatchObject({ status: 202 })
      // What is too much is removed in the background.
      const first = '/v1/users/7/events?limit=1000'
      while (Object((await bridge.call('GET', first)).body.events).length >= 400) await setImmediate()
    })
    expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: false, reason: 'gap' } })
    expect(session.socket.recovered).toBe(false)
    expect(await settled(bridge, session)).toEqual([])
    // From here on it goes on as any other.
    await away(session, () => bridge.publish({ event: 'later', to: { users: ['7'] } }))
    expect(await session.notice('sidecast:ready', 3)).toMatchObject({ data: { recovered: true } })
    expect(await settled(bridge, session)).toEqual(['end', 'later'])
  })

  test('a client that was ended by the application does not go on when it comes back', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7')
    await session.notice('sidecast:ready')
    await bridge.call('POST', '/v1/users/7/disconnect')
    expect(await session.closed()).toBe('io server disconnect')
    await bridge.publish({ event: 'missed', to: { users: ['7'] } })
    session.socket.connect()
    expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: false, reason: 'session' } })
    expect(await settled(bridge, session)).toEqual([])
  })

  test('many missed events come whole and in order, also while more are published', async () => {
    await using bridge = await startTestBridge()
    await using session = connect(bridge, '7')
    await session.notice('sidecast:ready')
    const batch = (from: number) => ({ events: Array.from({ length: 1000 }, (_, n) => ({ event: 'e', data: from + n, to: { users: ['7'] } })) })
    await away(session, async () => {
      for (let from = 0; from < 3000; from += 1000) await bridge.call('POST', '/v1/events/batch', batch(from))
    })
    for (let from = 3000; from < 6000; from += 1000) await bridge.call('POST', '/v1/events/batch', batch(from))
    await session.event(6000)
    expect(session.received.map(({ data }) => data)).toEqual(Array.from({ length: 6000 }, (_, n) => n))
    expect(session.socket.recovered).toBe(true)
  })

  test('a page that was loaded anew goes on from an offset that it has kept', async () => {
    await using bridge = await startTestBridge()
    const { offset } = await bridge.publish({ event: 'seen', to: { users: ['7'] } })
    await bridge.publish({ event: 'missed', to: { users: ['7'] } })
    const auth = { token: login('7'), offset }
    await using session = connectSession(bridge.publicUrl, { transports: [transport], auth })
    expect(await session.notice('sidecast:ready')).toMatchObject({ data: { recovered: true } })
    expect(await settled(bridge, session)).toEqual(['missed'])
  })
})

test('a resume goes on over the upgrade from long-polling to WebSocket', async () => {
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('7'), transports: ['polling', 'websocket'] })
  await session.notice('sidecast:ready')
  let upgrades = 0
  session.socket.io.on('open', () => session.socket.io.engine.once('upgrade', () => upgrades++))
  const batch = (from: number) => ({ events: Array.from({ length: 500 }, (_, n) => ({ event: 'e', data: from + n, to: { users: ['7'] } })) })
  for (let round = 0; round < 5; round++) {
    await away(session, () => bridge.call('POST', '/v1/events/batch', batch(round * 1000)))
    // While it comes back, catches up and upgrades.
    await bridge.call('POST', '/v1/events/batch', batch(round * 1000 + 500))
    await session.event((round + 1) * 1000)
    while (session.socket.io.engine.transport.name !== 'websocket') await setImmediate()
  }
  expect(session.received.map(({ data }) => data)).toEqual(Array.from({ length: 5000 }, (_, n) => n))
  expect(session.notices.slice(1).map(({ data }) => Object(data).recovered)).toEqual(Array(5).fill(true))
  expect(upgrades).toBe(5)
})

test('a session that is half-open when its client comes back is replaced, and neither loses nor gets anything twice', async () => {
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  const { data } = await session.notice('sidecast:ready')
  const pid: unknown = Object(session.socket)._pid
  await bridge.publish({ event: 'one', to: { users: ['7'] } })
  const { offset } = await session.event(1)
  await using successor = connectSession(bridge.publicUrl, { auth: { token: login('7'), pid, offset } })
  expect((await successor.notice('sidecast:ready')).data).toMatchObject({ session: Object(data).session, recovered: true })
  await session.closed()
  expect(await bridge.publish({ event: 'two', to: { users: ['7'] } })).toMatchObject({ matched: 1 })
  expect(await successor.event(1)).toMatchObject({ event: 'two' })
  expect(names(session)).toEqual(['one'])
})

const nowSeconds = (): number => Math.floor(Date.now() / 1000)
