import { expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { openRaw } from './raw-client.ts'

const positionOf = (offset: unknown): number => Number(String(offset).split('-')[1])

async function revoke(bridge: TestBridge, request: Readonly<Record<string, unknown>>): Promise<number> {
  const { status, body } = await bridge.call('POST', '/v1/revocations', request)
  expect(status).toBe(202)
  return positionOf(body.offset)
}

test('of what is published while many are revoked the revoked get what stands before, and all others everything', async () => {
  await using bridge = await startTestBridge()
  const sessions = Array.from({ length: 60 }, (_, index) => ({
    jti: `t${index}`,
    line: connectSession(bridge.publicUrl, { token: login(`u${index % 15}`, { jti: `t${index}` }), reconnection: false }),
  }))
  for (const { line } of sessions) await line.notice('sidecast:ready')
  const revoked = new Map<string, number>()
  const published = new Map<string, number>()
  await Promise.all(
    sessions.flatMap(({ jti }, index) => {
      const publish = async (event: string) => {
        const { offset, matched } = await bridge.publish({ event, to: { all: true } })
        published.set(event, positionOf(offset))
        expect(matched).toBeGreaterThanOrEqual(30)
      }
      const revoking = async () => {
        revoked.set(jti, await revoke(bridge, { jti }))
        // Right behind it, without a breath.
        await publish(`after:${jti}`)
      }
      return index % 2 === 0 ? [publish(`even.${jti}`)] : [publish(`odd.${jti}`), revoking()]
    }),
  )
  const inOrder = [...published].toSorted(([, one], [, other]) => one - other).map(([event]) => event)
  for (const { jti, line } of sessions) {
    const position = revoked.get(jti)
    if (position === undefined) await line.event(published.size)
    else await line.notice('sidecast:disconnect')
    expect(line.received.map(({ event }) => event)).toEqual(
      inOrder.filter((event) => position === undefined || (published.get(event) ?? 0) < position),
    )
    line.socket.disconnect()
  }
})

test('a client that does not read when it is revoked finds nothing of what came later when it reads on', async () => {
  await using bridge = await startTestBridge()
  await using slow = await openRaw(bridge.publicUrl)
  await slow.login(login('7', { iat: Math.floor(Date.now() / 1000) - 60 }))
  slow.tcp.pause()
  // More than its line takes: most of it waits in the log.
  for (let count = 0; count < 60; count++) await bridge.publish({ event: 'n', data: 'x'.repeat(200_000), to: { users: [7] } })
  await revoke(bridge, { user: 7 })
  await bridge.publish({ event: 'secret', to: { users: [7] } })
  slow.tcp.resume()
  await slow.closed
  expect(slow.packets.filter((packet) => packet.startsWith('42["n"')).length).toBeLessThan(60)
  expect(slow.packets.filter((packet) => packet.includes('secret'))).toEqual([])
})

test('a client that resumes from far behind stops where it is revoked', async () => {
  await using bridge = await startTestBridge()
  const token = login('7', { jti: 'a' })
  await using before = await openRaw(bridge.publicUrl)
  const { pid } = await before.login(token)
  const ready = await before.packet('42["sidecast:ready"')
  const offset: unknown = JSON.parse(ready.slice(2)).at(-1)
  before.tcp.destroy()
  await before.closed
  // More than its line takes at once.
  const events = Array.from({ length: 1000 }, () => ({ event: 'n', data: 'x'.repeat(12_000), to: { users: [7] } }))
  for (let round = 0; round < 3; round++) expect((await bridge.call('POST', '/v1/events/batch', { events })).status).toBe(202)
  await using again = await openRaw(bridge.publicUrl)
  again.send(`40${JSON.stringify({ token, pid, offset })}`)
  again.tcp.pause()
  await expect.poll(async () => (await bridge.call('GET', '/v1/users/7')).body.online).toBe(true)
  const position = await revoke(bridge, { jti: 'a' })
  await bridge.publish({ event: 'secret', to: { users: [7] } })
  again.tcp.resume()
  await again.closed
  const offsets = again.packets.filter((packet) => packet.startsWith('42[')).map((packet) => positionOf(JSON.parse(packet.slice(2)).at(-1)))
  expect(offsets.filter((at) => at >= position)).toEqual([])
  expect(again.packets.filter((packet) => packet.includes('secret') || packet.includes('sidecast:ready'))).toEqual([])
})
