import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { copyFolder } from '../log/folders.ts'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { freePorts } from '../support/free-ports.ts'

/** A data folder, and what copies and restores it while no bridge runs on it. */
async function newData() {
  const root = await mkdtemp(join(tmpdir(), 'sidecast-restored-'))
  const [directory, backup] = [join(root, 'data'), join(root, 'backup')]
  return {
    directory,
    backUp: () => copyFolder(directory, backup),
    restore: async () => {
      await rm(directory, { recursive: true })
      await rename(backup, directory)
    },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  }
}

/** A stock client that comes back when it is told to. */
function connectOnCall(url: string, user: string, rooms: readonly string[] = []): TestSession {
  return connectSession(url, { token: () => login(user, { rooms }), reconnection: false })
}

const names = ({ received }: TestSession) => received.map(({ event }) => event)

test('after an older copy of the data was put back, who was ahead of it is told of a gap and gets what comes; who was not goes on', async () => {
  await using data = await newData()
  const { directory } = data
  const publish = async (bridge: Awaited<ReturnType<typeof startTestBridge>>, user: string, ...events: readonly string[]) => {
    for (const event of events) await bridge.publish({ event, to: { users: [user] } })
  }
  const [port] = await freePorts(1)
  const again = () => startTestBridge({ PUBLIC_PORT: String(port) }, directory)
  let bridge = await again()
  const url = bridge.publicUrl
  await using ahead = connectOnCall(url, 'ahead')
  await using silent = connectOnCall(url, 'silent')
  await using before = connectOnCall(url, 'before')
  const all = [ahead, silent, before]
  for (const session of all) await session.notice('sidecast:ready')
  for (const user of ['ahead', 'silent', 'before']) await publish(bridge, user, 'early')
  for (const session of all) await session.event()
  await bridge[Symbol.asyncDispose]()
  data.backUp()

  // The branch that will be lost. One client is told of an event there, one connects and gets nothing but its welcome, one stays away.
  bridge = await again()
  for (const session of [ahead, silent]) {
    session.socket.connect()
    expect((await session.notice('sidecast:ready', 2)).data).toMatchObject({ recovered: true })
  }
  await publish(bridge, 'ahead', 'lost.1', 'lost.2')
  await ahead.event(3)
  silent.socket.disconnect().connect()
  await silent.notice('sidecast:ready', 3)
  await bridge[Symbol.asyncDispose]()
  await data.restore()

  // The positions of the lost branch are given out again, and more, before anybody comes back.
  bridge = await again()
  for (const user of ['ahead', 'silent', 'before']) await publish(bridge, user, 'new.1', 'new.2', 'new.3')
  for (const session of all) session.socket.connect()
  expect((await ahead.notice('sidecast:ready', 3)).data).toMatchObject({ recovered: false, reason: 'gap' })
  expect((await silent.notice('sidecast:ready', 4)).data).toMatchObject({ recovered: false, reason: 'gap' })
  expect((await before.notice('sidecast:ready', 2)).data).toMatchObject({ recovered: true })
  expect(all.map(({ socket }) => socket.recovered)).toEqual([false, false, true])
  for (const user of ['ahead', 'silent', 'before']) await publish(bridge, user, 'live')
  await ahead.event(4)
  await silent.event(2)
  await before.event(5)
  expect(names(ahead)).toEqual(['early', 'lost.1', 'lost.2', 'live'])
  expect(names(silent)).toEqual(['early', 'live'])
  expect(names(before)).toEqual(['early', 'new.1', 'new.2', 'new.3', 'live'])

  // From here on they are like any other client.
  await bridge[Symbol.asyncDispose]()
  bridge = await again()
  await publish(bridge, 'ahead', 'missed')
  ahead.socket.connect()
  expect((await ahead.notice('sidecast:ready', 4)).data).toMatchObject({ recovered: true })
  expect(names(ahead).at(-1)).toBe('missed')
  await bridge[Symbol.asyncDispose]()
})

test('a reader of the history with an offset of the lost branch is told of a gap', async () => {
  await using data = await newData()
  const kept = await (async () => {
    await using bridge = await startTestBridge({}, data.directory)
    return await bridge.publish({ event: 'early', to: { users: ['42'] } })
  })()
  data.backUp()
  const lost = await (async () => {
    await using bridge = await startTestBridge({}, data.directory)
    return await bridge.publish({ event: 'lost', to: { users: ['42'] } })
  })()
  await data.restore()
  await using bridge = await startTestBridge({}, data.directory)
  for (const event of ['new.1', 'new.2']) await bridge.publish({ event, to: { users: ['42'] } })
  const after = (offset = '') => bridge.call('GET', `/v1/users/42/events?after=${offset}`)
  expect(await after(lost.offset)).toMatchObject({ status: 410, body: { code: 'gap' } })
  expect(await after(kept.offset)).toMatchObject({ status: 200, body: { events: [{ event: 'new.1' }, { event: 'new.2' }] } })
})
