import { once } from 'node:events'
import { expect, test } from 'vitest'
import { apiKey, callIngress, login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { openRaw, type RawClient } from './raw-client.ts'
import { startServerProcess } from './server-processes.ts'

interface Place {
  readonly privateUrl: string
}

/** Publishes events numbered from `first` in one NDJSON body; resolves when all are accepted. */
async function publishMany({ privateUrl }: Place, users: readonly string[], count: number, { bytes = 0, first = 0 } = {}): Promise<void> {
  const padding = 'x'.repeat(bytes)
  const lines = Array.from({ length: count }, (_, index) => JSON.stringify({ event: 'n', data: [first + index, padding], to: { users } }))
  const response = await fetch(`${privateUrl}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  })
  const results = (await response.text()).trim().split('\n')
  expect(results.filter((result) => !result.includes('"offset"'))).toEqual([])
  expect(results).toHaveLength(count)
}

async function isOnline({ privateUrl }: Place, user: string): Promise<unknown> {
  return (await callIngress(privateUrl, 'GET', `/v1/users/${user}`)).body.online
}

const isEvent = (packet: string): boolean => packet.startsWith('42["n"')
const numberOf = (packet: string): number => Number(/^42\["n",\[(\d+)/.exec(packet)?.[1])
const numbersOf = (raw: RawClient): readonly number[] => raw.packets.filter(isEvent).map(numberOf)
const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index)

test('a client that stops reading costs bounded memory, delays nobody, is cut off, and gets everything once when it comes back', async () => {
  await using bridge = await startServerProcess('bridge')
  await using slow = await openRaw(bridge.publicUrl)
  const { pid } = await slow.login(login('slow'))
  await using quick = connectSession(bridge.publicUrl, { token: login('quick') })
  await quick.notice('sidecast:ready')
  const before = await bridge.memory()

  slow.tcp.pause()
  const rounds = 16
  const round = 40
  let most = 0
  for (let done = 0; done < rounds; done++) {
    await publishMany(bridge, ['slow', 'quick'], round, { bytes: 100_000, first: done * round })
    await quick.event((done + 1) * round)
    most = Math.max(most, (await bridge.memory()) - before)
  }
  // Sixty-four megabytes were published; what waits for one is the buffer, two times at most, and for the tables a megabyte or two; and little of it when it was cut off.
  expect(most).toBeLessThan(10e6)
  await expect.poll(() => isOnline(bridge, 'slow'), { interval: 100 }).toBe(false)
  await expect.poll(async () => (await bridge.memory()) - before).toBeLessThan(4e6)
  expect(quick.received.map(({ data }) => (data as readonly unknown[])[0])).toEqual(upTo(rounds * round))
  expect(quick.notices).toHaveLength(1)

  slow.tcp.resume()
  await slow.closed
  const taken = numbersOf(slow)
  expect(taken.length).toBeLessThan(rounds * round)
  const offset: unknown = JSON.parse(slow.packets.at(-1)?.slice(2) ?? '').at(-1)
  await using again = await openRaw(bridge.publicUrl)
  await again.login(login('slow'), { pid, offset })
  expect([...taken, ...numbersOf(again)]).toEqual(upTo(rounds * round))
  expect(await again.packet('42["sidecast:ready"')).toContain('"recovered":true')
})

test('a client that reads slowly, but reads, is not cut off and gets everything', async () => {
  await using bridge = await startTestBridge({ MAX_BUFFER: '16mb' })
  await using raw = await openRaw(bridge.publicUrl)
  await raw.login(login('42'))
  // Half a megabyte a second for eight seconds, longer than a client may stand still: as a bad line does it. Then the line is good again.
  const perTurn = 25_000
  let slowly = 4_000_000
  let allowance = 0
  raw.tcp.on('data', (chunk: Buffer) => {
    slowly -= chunk.length
    allowance -= chunk.length
    if (allowance <= 0 && slowly > 0) raw.tcp.pause()
  })
  const turns = setInterval(() => {
    allowance = Math.min(perTurn, allowance + perTurn)
    if (allowance > 0) raw.tcp.resume()
  }, 50)
  const count = 400
  await publishMany(bridge, ['42'], count, { bytes: 75_000 })
  await raw.packet(`42["n",[${count - 1},`)
  clearInterval(turns)
  expect(numbersOf(raw)).toEqual(upTo(count))
  expect(raw.packets.filter((packet) => packet.includes('sidecast:ready'))).toHaveLength(1)
})

test.each([
  ['WebSocket', ['websocket'], 400],
  ['polling', ['polling'], 100],
])('a burst of tens of megabytes does not cut off a client that reads, on %s', async (_, transports, count) => {
  await using bridge = await startTestBridge()
  await using session = connectSession(bridge.publicUrl, { token: login('42'), transports })
  await session.notice('sidecast:ready')
  await publishMany(bridge, ['42'], count, { bytes: 75_000 })
  await session.event(count)
  expect(session.received.map(({ data }) => (data as readonly unknown[])[0])).toEqual(upTo(count))
  expect(session.notices).toHaveLength(1)
})

test('events as large as the whole buffer reach a client that reads', async () => {
  await using bridge = await startTestBridge({ MAX_EVENT_SIZE: '64kb', MAX_BUFFER: '64kb' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  await publishMany(bridge, ['42'], 50, { bytes: 65_000 })
  await session.event(50)
  expect(session.received.map(({ data }) => (data as readonly unknown[])[0])).toEqual(upTo(50))
  expect(session.notices).toHaveLength(1)
})

test('what the server itself says fits, however small the buffer', async () => {
  await using bridge = await startTestBridge({ MAX_EVENT_SIZE: '1kb', MAX_BUFFER: '1kb' })
  await using session = connectSession(bridge.publicUrl, { token: login('42') })
  await session.notice('sidecast:ready')
  const rooms = Array.from({ length: 300 }, (_, index) => `room ${index} ${'x'.repeat(150)}`)
  await Promise.all(rooms.map((room) => bridge.call('PUT', `/v1/rooms/${encodeURIComponent(room)}/users/42`)))
  session.cut()
  const { data } = await session.notice('sidecast:ready', 2)
  expect((data as { readonly rooms: readonly string[] }).rooms).toHaveLength(301)
  await bridge.publish({ event: 'n', to: { users: ['42'] } })
  await session.event()
  expect(session.notices.filter(({ event }) => event === 'sidecast:ready')).toHaveLength(2)
})

test('a client that asks and asks and does not read the answers is cut off', async () => {
  await using bridge = await startServerProcess('bridge')
  const before = await bridge.memory()
  const raw = await openRaw(bridge.publicUrl)
  await raw.login(login('42'))
  raw.tcp.pause()
  const request = `421["sidecast:join",{"room":"${'r'.repeat(100)}"}]`
  const most = 1_000_000
  let asked = 0
  for (; asked < most && !raw.tcp.destroyed; asked += 100) {
    for (let one = 0; one < 100; one++) raw.send(request)
    if (raw.tcp.writableNeedDrain) await Promise.race([once(raw.tcp, 'drain').catch(() => undefined), raw.closed])
    else await new Promise(setImmediate)
  }
  expect(asked).toBeLessThan(most)
  await expect.poll(() => isOnline(bridge, '42')).toBe(false)
  expect((await bridge.memory()) - before).toBeLessThan(6e6)
  raw.tcp.resume()
})

test('a resume of fifty thousand events is complete and in order, and others are served meanwhile', async () => {
  await using bridge = await startTestBridge()
  const [pid, offset] = await (async () => {
    await using raw = await openRaw(bridge.publicUrl)
    const { pid } = await raw.login(login('42'))
    const ready: readonly unknown[] = JSON.parse((await raw.packet('42')).slice(2))
    return [pid, ready.at(-1)]
  })()
  await expect.poll(() => isOnline(bridge, '42')).toBe(false)
  const count = 50_000
  for (let first = 0; first < count; first += 10_000) await publishMany(bridge, ['42'], 10_000, { first })
  await using other = connectSession(bridge.publicUrl, { token: login('43') })
  await other.notice('sidecast:ready')

  await using raw = await openRaw(bridge.publicUrl)
  raw.send(`40${JSON.stringify({ token: login('42'), pid, offset })}`)
  await raw.packet('42["n"')
  await bridge.publish({ event: 'meanwhile', to: { users: ['43'] } })
  await other.event()
  expect(raw.packets.length).toBeLessThan(count)
  // What is published during the resume comes behind it.
  await publishMany(bridge, ['42'], 100, { first: count })
  await raw.packet(`42["n",[${count + 99},`)
  expect(numbersOf(raw)).toEqual(upTo(count + 100))
  await raw.packet('42["sidecast:ready"')
})
