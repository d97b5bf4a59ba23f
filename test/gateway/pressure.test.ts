import { expect, test } from 'vitest'
import { apiKey, login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { mostPublished, openPaused, publishPadded, publishUntilRefused, users } from './paused-clients.ts'
import { openRaw, type RawClient } from './raw-client.ts'

const numberOf = (packet: string): number => Number(/^42\["n",\[(\d+)/.exec(packet)?.[1])
const numbersOf = (raw: RawClient): readonly number[] => raw.packets.filter((packet) => packet.startsWith('42["n"')).map(numberOf)
const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index)

async function closedSlow(bridge: TestBridge): Promise<number> {
  const text = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  return Number(/^sidecast_sessions_closed_total\{end="slow_consumer"\} (\d+)/m.exec(text)?.[1] ?? 0)
}

test('publishers are refused while too much waits for slow clients, and taken again when they have read; what ends sessions is taken all the time', async () => {
  await using bridge = await startTestBridge({ MAX_BUFFERED: '32mb', MAX_BUFFER: '16mb' })
  const slow = await openPaused(bridge)
  const { accepted, refusal } = await publishUntilRefused(bridge)
  expect(refusal.status).toBe(503)
  expect(refusal.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
  expect(await refusal.json()).toMatchObject({ code: 'overloaded', type: 'urn:sidecast:error:overloaded' })
  const line = await fetch(`${bridge.privateUrl}/v1/events/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/x-ndjson' },
    body: '{"event":"n","to":{"users":["quick"]}}',
  })
  expect(JSON.parse(await line.text())).toMatchObject({ status: 503, code: 'overloaded' })
  expect((await bridge.call('POST', '/v1/events?dry_run=true', { event: 'n', to: { users: ['slow 1'] } })).status).toBe(200)
  expect((await bridge.call('PUT', '/v1/rooms/lobby/users/quick')).status).toBeLessThan(300)
  const metrics = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
  expect(Number(/^sidecast_waiting_bytes (\d+)/m.exec(metrics)?.[1])).toBeGreaterThan(16e6)

  for (const { raw } of slow) raw.tcp.resume()
  await expect.poll(async () => (await publishPadded(bridge, accepted)).status).toBe(202)
  for (const { raw } of slow) {
    await raw.packet(`42["n",[${accepted},`)
    expect(numbersOf(raw)).toEqual(upTo(accepted + 1))
  }
})

test('the clients for whom most waits are cut off when all together reach the cap; others get everything, and they themselves when they are back', async () => {
  await using bridge = await startTestBridge({ MAX_BUFFERED: '2mb', MAX_BUFFER: '1mb' })
  await using quick = connectSession(bridge.publicUrl, { token: login('quick') })
  await quick.notice('sidecast:ready')
  const slow = await openPaused(bridge)
  let published = 0
  for (; published < mostPublished && (await closedSlow(bridge)) === 0; ) {
    const answer = await publishPadded(bridge, published)
    await answer.text()
    if (answer.status === 202) published++
  }
  expect(published).toBeLessThan(mostPublished)
  // As long as the others hold it up.
  await expect.poll(async () => (await publishPadded(bridge, published)).status).toBe(202)
  await quick.event(published + 1)
  expect(quick.received.map(({ data }) => (data as readonly unknown[])[0])).toEqual(upTo(published + 1))

  for (const [index, { raw, pid }] of slow.entries()) {
    raw.tcp.resume()
    if (raw.socket.readyState === raw.socket.OPEN) {
      await Promise.race([raw.closed, raw.packet(`42["n",[${published},`).catch(() => undefined)])
    }
    const taken = numbersOf(raw)
    if (taken.length === published + 1) continue
    const offset: unknown = JSON.parse(raw.packets.at(-1)?.slice(2) ?? '').at(-1)
    await using again = await openRaw(bridge.publicUrl)
    await again.login(login(users[index] ?? ''), { pid, offset })
    expect([...taken, ...numbersOf(again)]).toEqual(upTo(published + 1))
  }
})
