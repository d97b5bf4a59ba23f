import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import socketIo from 'socket.io/package.json' with { type: 'json' }
import { expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { openRaw, type RawClient } from './raw-client.ts'

interface Ready {
  readonly session: string
  readonly recovered: boolean
  readonly reason?: string
  readonly rooms: readonly string[]
}

/** What a client that comes by hand with this handshake is told, and the events that it gets with it. */
async function arrive(bridge: TestBridge, raw: RawClient, user: string, auth: Readonly<Record<string, unknown>>) {
  const { pid } = await raw.login(login(user), auth)
  await bridge.publish({ event: 'end', to: { users: [user] } })
  await raw.packet('42["end"')
  const said = raw.packets.filter((packet) => packet.startsWith('42')).map((packet): readonly unknown[] => JSON.parse(packet.slice(2)))
  const [, ready] = said.find(([event]) => event === 'sidecast:ready') as [string, Ready]
  return { pid, ready, events: said.map(([event]) => event).filter((event) => event !== 'sidecast:ready' && event !== 'end') }
}

/** A session of a user that is gone, and two events that it has missed. */
async function leave(bridge: TestBridge, user: string): Promise<{ readonly pid: string; readonly offset: string; readonly session: string }> {
  await using raw = await openRaw(bridge.publicUrl)
  const { pid } = await raw.login(login(user, { rooms: [`room of ${user}`] }))
  const [, { session }, offset] = JSON.parse((await raw.packet('42')).slice(2))
  raw.socket.terminate()
  await expect.poll(async () => (await bridge.call('GET', `/v1/users/${user}`)).body.online).toBe(false)
  await bridge.publish({ event: 'secret', data: user, to: { users: [user] } })
  await bridge.publish({ event: 'secret.room', data: user, to: { rooms: [`room of ${user}`] } })
  await bridge.publish({ event: 'secret.session', data: user, to: { sessions: [session] } })
  return { pid, offset, session }
}

test('in Socket.IO 4.8 the private field pid of a server socket is what the stock client keeps and compares, which makes it recovered', async () => {
  expect(socketIo.version).toMatch(/^4\.8\./)
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  const pid: unknown = Reflect.get(session.socket, '_pid')
  expect(pid).toMatch(/^[\w-]{20}\.[\w-]{22}$/)
  expect(session.socket.recovered).toBe(false)
  session.cut()
  await session.notice('sidecast:ready', 2)
  expect(session.socket.recovered).toBe(true)
  expect(Reflect.get(session.socket, '_pid')).toBe(pid)
})

test('the owner of a pid goes on with its session and gets what it missed', async () => {
  await using bridge = await startTestBridge()
  const { pid, offset, session } = await leave(bridge, 'ann')
  await using raw = await openRaw(bridge.publicUrl)
  const answer = await arrive(bridge, raw, 'ann', { pid, offset })
  expect(answer).toMatchObject({ pid, ready: { session, recovered: true }, events: ['secret', 'secret.session'] })
})

test('a pid under the token of another user is worth nothing: a new session, and not one event of the owner', async () => {
  await using bridge = await startTestBridge()
  const { pid, offset, session } = await leave(bridge, 'ann')
  await using raw = await openRaw(bridge.publicUrl)
  const { ready, events, pid: own } = await arrive(bridge, raw, 'mallory', { pid, offset })
  expect(ready).toMatchObject({ recovered: false, reason: 'session', rooms: ['user:mallory'] })
  expect(ready.session).not.toBe(session)
  expect(own).not.toBe(pid)
  expect(events).toEqual([])
  // Nothing was taken from the owner by it.
  await using owner = await openRaw(bridge.publicUrl)
  expect(await arrive(bridge, owner, 'ann', { pid, offset })).toMatchObject({ ready: { recovered: true }, events: ['secret', 'secret.session'] })
})

test('a stolen pid that is in use does not end the session of its owner', async () => {
  await using bridge = await startTestBridge()
  await using owner = connectSession(bridge.publicUrl, { token: login('ann') })
  const { offset } = await owner.notice('sidecast:ready')
  await using raw = await openRaw(bridge.publicUrl)
  const answer = await arrive(bridge, raw, 'mallory', { pid: Reflect.get(owner.socket, '_pid'), offset })
  expect(answer).toMatchObject({ ready: { recovered: false, reason: 'session' }, events: [] })
  await bridge.publish({ event: 'mine', to: { users: ['ann'] } })
  expect(await owner.event()).toMatchObject({ event: 'mine' })
  expect(owner.notices).toHaveLength(1)
})

test('a pid that was made up or changed by a character is no pid', async () => {
  await using bridge = await startTestBridge()
  const { pid, offset, session } = await leave(bridge, 'ann')
  const [id = '', mac = ''] = pid.split('.')
  const flipped = `${mac.startsWith('A') ? 'B' : 'A'}${mac.slice(1)}`
  const forged = [
    '',
    '.',
    id,
    `${id}.`,
    `.${mac}`,
    mac,
    `${id}.${mac.slice(0, -2)}`,
    `${id}.${mac}AAAA`,
    `${id}.${flipped}`,
    `${id}x.${mac}`,
    `${id.slice(0, -1)}.${mac}`,
  ]
  for (const one of [...forged, `${id}\n.${mac}`, `${id}.${mac}`.repeat(100), 'x'.repeat(10_000), '__proto__.__proto__']) {
    await using raw = await openRaw(bridge.publicUrl)
    const answer = await arrive(bridge, raw, 'ann', { pid: one, offset })
    expect(answer.ready, one).toMatchObject({ recovered: false, reason: 'session' })
    expect(answer.ready.session).not.toBe(session)
    expect(answer.events).toEqual([])
  }
})

test('a pid and an offset of a log that was replaced are of another epoch: a new session, which is told that it missed something', async () => {
  const { pid, offset } = await (async () => {
    await using bridge = await startTestBridge()
    return await leave(bridge, 'ann')
  })()
  await using bridge = await startTestBridge()
  for (let count = 0; count < 5; count++) await bridge.publish({ event: 'of.this.log', to: { users: ['ann'] } })
  await using raw = await openRaw(bridge.publicUrl)
  expect(await arrive(bridge, raw, 'ann', { pid, offset })).toMatchObject({ ready: { recovered: false, reason: 'session' }, events: [] })
  await using reloaded = await openRaw(bridge.publicUrl)
  expect(await arrive(bridge, reloaded, 'ann', { offset })).toMatchObject({ ready: { recovered: false, reason: 'gap' }, events: [] })
})

test('an offset ahead of the log, which was restored from an older copy, is a gap and not a silence', async () => {
  const data = await mkdtemp(join(tmpdir(), 'sidecast-restored-'))
  const backup = `${data}-backup`
  await using _ = {
    [Symbol.asyncDispose]: () => Promise.all([data, backup].map((path) => rm(path, { recursive: true, force: true }))).then(() => undefined),
  }
  {
    await using bridge = await startTestBridge({}, data)
    await bridge.publish({ event: 'early', to: { users: ['ann'] } })
  }
  await cp(data, backup, { recursive: true, filter: (path) => !path.endsWith('.sock') })
  const { pid } = await (async () => {
    await using bridge = await startTestBridge({}, data)
    return await leave(bridge, 'ann')
  })()
  await using bridge = await startTestBridge({}, backup)
  const { offset: now = '' } = await bridge.publish({ event: 'late', to: { users: ['ann'] } })
  const [epoch] = now.split('-')
  await using raw = await openRaw(bridge.publicUrl)
  expect(await arrive(bridge, raw, 'ann', { pid, offset: `${epoch}-1000` })).toMatchObject({ ready: { recovered: false, reason: 'gap' }, events: [] })
})

test('an offset that was made up is a gap; one of any other type is none', async () => {
  await using bridge = await startTestBridge()
  const { pid, offset } = await leave(bridge, 'ann')
  const [epoch = ''] = offset.split('-')
  const positions = [
    '',
    '-1',
    '+1',
    '01',
    '1.0',
    '1e0',
    '0x1',
    ' 1',
    '1 ',
    '1\n',
    '٣',
    '9007199254740993',
    '99999999999999999999',
    'NaN',
    'Infinity',
    '1000000',
    '1-1',
  ]
  const forged = [
    '',
    '-',
    epoch,
    `${epoch}-`,
    '1',
    `x${offset}`,
    offset.toUpperCase(),
    'x'.repeat(10_000),
    ...positions.map((position) => `${epoch}-${position}`),
  ]
  for (const one of forged.filter((text) => text !== offset)) {
    await using raw = await openRaw(bridge.publicUrl)
    expect(await arrive(bridge, raw, 'ann', { pid, offset: one }), one).toMatchObject({ ready: { recovered: false, reason: 'gap' }, events: [] })
  }
  for (const one of [null, 0, 1, -1, true, [offset], { toString: offset }, undefined]) {
    await using raw = await openRaw(bridge.publicUrl)
    expect(await arrive(bridge, raw, 'ann', { pid, offset: one })).toMatchObject({ ready: { recovered: false, reason: 'gap' }, events: [] })
  }
  for (const one of [null, 0, true, [pid], { pid }]) {
    await using raw = await openRaw(bridge.publicUrl)
    const { ready } = await arrive(bridge, raw, 'mallory', { pid: one, offset: 1 })
    expect(ready).toMatchObject({ recovered: false, reason: 'gap' })
  }
})

test('whoever does not ask to go on is given no reason why it does not', async () => {
  await using bridge = await startTestBridge()
  for (const auth of [{}, { pid: null, offset: null }]) {
    await using raw = await openRaw(bridge.publicUrl)
    const { ready } = await arrive(bridge, raw, 'ann', auth)
    expect(ready.recovered).toBe(false)
    expect(ready).not.toHaveProperty('reason')
  }
})

test('an offset of one’s own choice opens nothing that the user may not see', async () => {
  await using bridge = await startTestBridge()
  const { offset } = await leave(bridge, 'ann')
  const [epoch] = offset.split('-')
  for (const from of [offset, `${epoch}-0`, `${epoch}-1`]) {
    await using raw = await openRaw(bridge.publicUrl)
    expect((await arrive(bridge, raw, 'mallory', { offset: from })).events.filter((event) => String(event).startsWith('secret'))).toEqual([])
  }
})

test('a reloaded page has an offset and no pid: it gets what it missed and is told that it is complete', async () => {
  await using bridge = await startTestBridge()
  const { offset, session } = await leave(bridge, 'ann')
  await using raw = await openRaw(bridge.publicUrl)
  const { ready, events } = await arrive(bridge, raw, 'ann', { offset })
  expect(ready).toMatchObject({ recovered: true })
  expect(ready.session).not.toBe(session)
  expect(events).toEqual(['secret'])
})

test.each([
  ['its user was disconnected', (bridge: TestBridge) => bridge.call('POST', '/v1/users/ann/disconnect')],
  ['it was ended by its name', (bridge: TestBridge, session: string) => bridge.call('DELETE', `/v1/sessions/${session}`)],
])('a session does not go on when %s while its client was away', async (_, end) => {
  await using bridge = await startTestBridge()
  const { pid, offset, session } = await leave(bridge, 'ann')
  expect((await end(bridge, session)).status).toBe(202)
  await using raw = await openRaw(bridge.publicUrl)
  const answer = await arrive(bridge, raw, 'ann', { pid, offset })
  expect(answer).toMatchObject({ ready: { recovered: false, reason: 'session' }, events: [] })
  expect(answer.ready.session).not.toBe(session)
})

test('a session that was ended does not come back by an offset behind its end', async () => {
  await using bridge = await startTestBridge()
  const { pid, session } = await leave(bridge, 'ann')
  await bridge.call('DELETE', `/v1/sessions/${session}`)
  const { offset } = await bridge.publish({ event: 'later', to: { users: ['someone'] } })
  await using raw = await openRaw(bridge.publicUrl)
  expect((await arrive(bridge, raw, 'ann', { pid, offset })).ready).toMatchObject({ recovered: false, reason: 'session' })
})

/** What the session has been told until now, each with its offset. */
const told = (session: TestSession) => session.received.map(({ event, data }) => [event, data])

test('a pid that is used while its first connection is open moves the session: the first is closed and stays away, nothing comes twice', async () => {
  await using bridge = await startTestBridge()
  await using first = connectSession(bridge.publicUrl, { token: login('ann') })
  await first.notice('sidecast:ready')
  const { offset } = await bridge.publish({ event: 'n', data: 0, to: { users: ['ann'] } })
  await first.event()
  const pid: unknown = Reflect.get(first.socket, '_pid')

  await using second = connectSession(bridge.publicUrl, { auth: (give) => give({ token: login('ann'), pid, offset }) })
  const { data } = await second.notice('sidecast:ready')
  expect(data).toMatchObject({ recovered: true })
  expect(await first.closed()).toBe('io server disconnect')
  expect(first.notices.at(-1)).toMatchObject({ event: 'sidecast:disconnect', data: { code: 'session_replaced', retry: false } })

  for (let n = 1; n <= 20; n++) expect(await bridge.publish({ event: 'n', data: n, to: { users: ['ann'] } })).toMatchObject({ matched: 1 })
  await second.event(20)
  expect(told(second)).toEqual(Array.from({ length: 20 }, (_, index) => ['n', index + 1]))
  expect(told(first)).toEqual([['n', 0]])
  expect(second.notices.map(({ event }) => event)).toEqual(['sidecast:ready'])
  expect(first.socket.active).toBe(false)
})
