import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { callIngress, login, startTestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'

const transports = ['websocket', 'polling'] as const

interface Ready {
  readonly user: string
  readonly session: string
  readonly rooms: readonly string[]
}

describe.each(transports)('over %s', (transport) => {
  /** A bridge with sessions that are ready, in the order of the users. */
  async function start<const Users extends readonly string[]>(users: Users, claims: Readonly<Record<string, unknown>> = {}) {
    const bridge = await startTestBridge()
    const sessions = users.map((user) => connectSession(bridge.publicUrl, { token: login(user, claims), transports: [transport] }))
    await Promise.all(sessions.map((session) => session.notice('sidecast:ready')))
    return {
      bridge,
      sessions: sessions as { [Index in keyof Users]: TestSession },
      /** Publishes, then something for everybody: who has that has all that came before. Gives the names that each session got. */
      async deliver(...events: readonly Readonly<Record<string, unknown>>[]) {
        const answers = []
        for (const event of events) answers.push(await bridge.publish(event))
        await bridge.publish({ event: 'end', to: { all: true } })
        await Promise.all(sessions.map((session) => session.until(() => session.received.at(-1)?.event === 'end')))
        return { answers, got: sessions.map(({ received }) => received.slice(0, -1).map(({ event }) => event)) }
      },
      async [Symbol.asyncDispose]() {
        for (const session of sessions) session.socket.disconnect()
        await bridge[Symbol.asyncDispose]()
      },
    }
  }

  async function idOf(session: TestSession): Promise<string> {
    return ((await session.notice('sidecast:ready')).data as Ready).session
  }

  test('an event for a user reaches all sessions of that user and nobody else, and says how many they were', async () => {
    await using world = await start(['7', '7', '8'])
    const { answers, got } = await world.deliver({ event: 'order', data: { total: 3 }, to: { users: ['7'] } })
    expect(got).toEqual([['order'], ['order'], []])
    expect(answers[0]).toMatchObject({ matched: 2, duplicate: false })
    const [first] = world.sessions[0].received
    expect(first).toEqual({ event: 'order', data: { total: 3 }, offset: answers[0]?.offset })
  })

  test('users may be integers, as PHP sends them', async () => {
    await using world = await start(['7', '8'])
    const { answers, got } = await world.deliver(
      { event: 'order', to: { users: [7] } },
      { event: 'chat', to: { users: ['7', 8] }, except: { users: [7] } },
    )
    expect(got).toEqual([['order'], ['chat']])
    expect(answers.map(({ matched }) => matched)).toEqual([1, 1])
  })

  test('an event for a room reaches who is in it by the login, by the application or by request', async () => {
    await using world = await start(['in', 'put', 'asks', 'out'], { rooms: ['team:*'] })
    const { bridge, sessions } = world
    await using named = connectSession(bridge.publicUrl, { token: login('named', { rooms: ['team:1'] }), transports: [transport] })
    expect((await named.notice('sidecast:ready')).data).toMatchObject({ rooms: ['user:named', 'team:1'] })
    expect(await bridge.call('PUT', '/v1/rooms/team:1/users/put')).toMatchObject({ status: 202 })
    expect(await sessions[1].notice('sidecast:joined')).toMatchObject({ data: { room: 'team:1', by: 'backend' } })
    expect(await sessions[2].request('sidecast:join', { room: 'team:1' })).toEqual({ ok: true, room: 'team:1' })
    expect(await sessions[2].notice('sidecast:joined')).toMatchObject({ data: { room: 'team:1', by: 'request' } })
    expect(await sessions[3].request('sidecast:join', { room: 'staff' })).toMatchObject({ ok: false, error: { code: 'room_forbidden' } })

    const { answers, got } = await world.deliver({ event: 'moved', to: { rooms: ['team:1'] } })
    expect(got).toEqual([[], ['moved'], ['moved'], []])
    expect(await named.event(1)).toMatchObject({ event: 'moved' })
    expect(answers[0]).toMatchObject({ matched: 3 })
  })

  test('who is taken out of a room gets what came before, is told, and gets nothing after', async () => {
    await using world = await start(['7', '8'], { rooms: ['team', 'page:*'] })
    const { bridge, sessions } = world
    expect(await sessions[1].request('sidecast:join', { room: 'page:1' })).toMatchObject({ ok: true })
    await bridge.publish({ event: 'before', to: { rooms: ['team'] } })
    const removed = await bridge.call('DELETE', '/v1/rooms/team/users/7')
    const { got } = await world.deliver({ event: 'after', to: { rooms: ['team'] } })
    expect(got).toEqual([['before'], ['before', 'after']])
    expect(await sessions[0].notice('sidecast:left')).toEqual({
      event: 'sidecast:left',
      data: { room: 'team', by: 'backend' },
      offset: removed.body.offset,
    })
    expect(await sessions[0].request('sidecast:join', { room: 'team' })).toMatchObject({ ok: false, error: { code: 'room_forbidden' } })
    expect(await sessions[1].request('sidecast:leave', { room: 'page:1' })).toMatchObject({ ok: true })
    expect(await sessions[1].notice('sidecast:left')).toMatchObject({ data: { room: 'page:1', by: 'request' } })
  })

  test('a session that leaves a room and asks for it again without waiting is in it', async () => {
    await using world = await start(['7'], { rooms: ['page:*'] })
    const [session] = world.sessions
    const answers = await Promise.all(
      ['join', 'leave', 'join', 'leave', 'join'].map((what) => session.request(`sidecast:${what}`, { room: 'page:1' })),
    )
    expect(answers).toEqual(Array(5).fill({ ok: true, room: 'page:1' }))
    expect((await world.deliver({ event: 'moved', to: { rooms: ['page:1'] } })).got).toEqual([['moved']])
  })

  test('an event for a session reaches that one only', async () => {
    await using world = await start(['7', '7'])
    const { answers, got } = await world.deliver({ event: 'hint', to: { sessions: [await idOf(world.sessions[1])] } })
    expect(got).toEqual([[], ['hint']])
    expect(answers[0]).toMatchObject({ matched: 1 })
  })

  test('an event for all reaches all but the users and sessions that are excepted', async () => {
    await using world = await start(['7', '8', '8', '9'])
    const except = { users: ['7'], sessions: [await idOf(world.sessions[1])] }
    const { answers, got } = await world.deliver({ event: 'news', to: { all: true }, except })
    expect(got).toEqual([[], [], ['news'], ['news']])
    expect(answers[0]).toMatchObject({ matched: 2 })
  })

  test('who is named several times gets one copy', async () => {
    await using world = await start(['7', '8'], { rooms: ['team', 'shop'] })
    const sessions = [await idOf(world.sessions[0])]
    const { answers, got } = await world.deliver({ event: 'news', to: { users: ['7', 7], rooms: ['team', 'shop'], sessions } })
    expect(got).toEqual([['news'], ['news']])
    expect(answers[0]).toMatchObject({ matched: 2 })
  })

  test('data that is absent is null; all other JSON arrives as it was', async () => {
    await using world = await start(['7'])
    const values = [null, false, 0, '', 'Grüße \u{1f600} \u2028', [], {}, [[1, { a: null }]], -1.5e-7]
    await world.deliver({ event: 'none', to: { users: ['7'] } }, ...values.map((data) => ({ event: 'some', data, to: { users: ['7'] } })))
    expect(world.sessions[0].received.map(({ data }) => data).slice(0, -1)).toEqual([null, ...values])
  })

  test('an event that was stored once is delivered once, however often it is published', async () => {
    await using world = await start(['7'])
    const event = { id: 'order-1', event: 'order', to: { users: ['7'] } }
    const { answers, got } = await world.deliver(event, event, event)
    expect(got).toEqual([['order']])
    expect(answers.map(({ duplicate }) => duplicate)).toEqual([false, true, true])
    expect(new Set(answers.map(({ offset }) => offset)).size).toBe(1)
  })

  test('everything that the server says ends with its place in the log', async () => {
    await using world = await start(['7'], { rooms: ['page:*'] })
    const { bridge, sessions } = world
    const [session] = sessions
    expect((await session.notice('sidecast:ready')).data).toEqual({
      user: '7',
      session: expect.stringMatching(/^[\w-]{20}$/),
      rooms: ['user:7'],
      recovered: false,
      expiresAt: expect.any(Number),
    })
    await session.request('sidecast:join', { room: 'page:1' })
    await bridge.call('PUT', '/v1/rooms/team/users/7')
    await bridge.call('DELETE', '/v1/rooms/team/users/7')
    const { offset } = await bridge.publish({ event: 'order', to: { users: ['7'] } })
    await session.event(1)
    expect(await bridge.call('POST', '/v1/users/7/disconnect')).toMatchObject({ status: 202 })
    expect(await session.notice('sidecast:disconnect')).toMatchObject({
      data: { code: 'disconnected', message: expect.any(String), retry: false },
      offset,
    })
    expect(await session.closed()).toBe('io server disconnect')
    expect(session.notices.map(({ event }) => event)).toEqual([
      'sidecast:ready',
      'sidecast:joined',
      'sidecast:joined',
      'sidecast:left',
      'sidecast:disconnect',
    ])
    for (const notice of [...session.notices, ...session.received]) expect(notice.offset).toMatch(/^[a-z0-9]+-\d+$/)
  })

  test('numbers that JavaScript cannot hold arrive with all their digits', async () => {
    await using world = await start(['7'])
    const { bridge } = world
    const data = '{"id":9007199254740993,"sum":12345678901234567890.123456789,"small":1}'
    const raw = await openRaw(bridge.publicUrl, transport, login('7'))
    const { status, body } = await callIngress(bridge.privateUrl, 'POST', '/v1/events', `{"event":"order","data":${data},"to":{"users":["7"]}}`)
    expect(status).toBe(202)
    expect(await raw.until('"order"')).toContain(`42["order",${data},"${body.offset}"]`)
    raw.close()
  })
})

/** The bytes that a browser would get, before anything has parsed them. */
async function openRaw(url: string, transport: 'websocket' | 'polling', token: string) {
  const connect = `40${JSON.stringify({ token })}`
  if (transport === 'websocket') {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`)
    let text = ''
    let check = (): void => {}
    socket.on('message', (message) => {
      text += `${message}\n`
      check()
    })
    const until = (part: string): Promise<string> =>
      new Promise((resolve) => {
        check = () => {
          if (text.includes(part)) resolve(text)
        }
        check()
      })
    await until('0{')
    socket.send(connect)
    await until('sidecast:ready')
    return { until, close: () => socket.terminate() }
  }
  const poll = `${url}/socket.io/?EIO=4&transport=polling`
  const opened = await (await fetch(poll)).text()
  const { sid }: { readonly sid: string } = JSON.parse(opened.slice(1))
  const say = async (body: string): Promise<void> => void (await fetch(`${poll}&sid=${sid}`, { method: 'POST', body })).text()
  await say(connect)
  let text = ''
  const until = async (part: string): Promise<string> => {
    while (!text.includes(part)) text += await (await fetch(`${poll}&sid=${sid}`)).text()
    return text
  }
  await until('sidecast:ready')
  return { until, close: () => void say('1') }
}
