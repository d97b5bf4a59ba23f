import jwt from 'jsonwebtoken'
import { expect, test } from 'vitest'
import type { Drained } from '../../src/gateway/drain.ts'
import { connectSession } from '../support/client.ts'
import { runSidecast } from '../support/sidecast.ts'
import { startDeployment } from './deployment.ts'
import { startHerd } from './herd.ts'
import { startPublishing } from './publishing.ts'
import { perSlice } from './slices.ts'

const herdSize = 300
const drainPeriodMs = 2000
/** Of the stock client: transports as a page gives them. */
const stock = [['websocket'], ['polling'], ['polling', 'websocket']].flatMap((transports) => Array.from({ length: 8 }, () => transports))

/** What the nodes have said of their drains. */
function drainsIn(said: readonly string[]): readonly Drained[] {
  return said.filter((line) => line.includes('"msg":"the clients were sent elsewhere"')).map((line) => JSON.parse(line))
}

test('nodes behind HAProxy are restarted one after the other, and nobody misses, repeats or swaps anything', async () => {
  await using deployment = await startDeployment(3, {
    DRAIN_LEAD: '1500ms',
    DRAIN_PERIOD: `${drainPeriodMs}ms`,
    LOG_LEVEL: 'info',
    TRUSTED_PROXIES: 'loopback',
    ALLOWED_ORIGINS: 'https://shop.example',
  })
  const { publicUrl, privateUrl, secret, apiKey } = deployment

  const sidecast = ['doctor', '--url', publicUrl, '--private-url', privateUrl]
  const examined = await runSidecast(sidecast, {
    SIDECAST_JWT_SECRET: secret,
    SIDECAST_API_KEY: apiKey,
    SIDECAST_ALLOWED_ORIGINS: 'https://shop.example',
  })
  expect(examined.out).toMatch(/ok +sticky +8 requests of one long-polling connection reached one process/)
  expect(examined.out).toMatch(/ok +canary +an event that is published reaches it/)

  const returns: number[] = []
  const sessions = stock.map((transports, index) => {
    const token = jwt.sign({ sub: `stock-${index}` }, secret, { expiresIn: '1h' })
    const session = connectSession(publicUrl, { token, transports, reconnectionDelay: 200, reconnectionDelayMax: 1000 })
    session.socket.on('sidecast:ready', () => returns.push(Date.now()))
    return session
  })
  await Promise.all(sessions.map((session) => session.notice('sidecast:ready')))
  returns.length = 0
  await using herd = await startHerd({ url: publicUrl, secret, count: herdSize, name: 'herd' })
  const publishing = startPublishing(deployment, 20)
  for (const node of deployment.nodes) await node.restart()
  const { accepted, repeated } = await publishing.stop()

  const report = await herd.complete(accepted)
  expect(report).toMatchObject({ connected: herdSize, complete: herdSize, wrong: [], notRecovered: 0 })
  // Each of the three has sent away all that it had.
  expect(report.draining).toBeGreaterThanOrEqual(herdSize)
  expect(report.returns.length).toBeGreaterThanOrEqual(herdSize)
  await Promise.all(sessions.map((session) => session.event(accepted)))
  for (const { received, notices } of sessions) {
    expect(received.map(({ data }) => data)).toEqual(Array.from({ length: accepted }, (_, number) => number))
    const ready = notices.filter(({ event }) => event === 'sidecast:ready').slice(1)
    expect(ready.length).toBeGreaterThan(0)
    for (const { data } of ready) expect(data).toMatchObject({ recovered: true })
    // Also those that poll are told, by the node that they are at.
    expect(notices.some(({ event, data }) => event === 'sidecast:disconnect' && Object(data).code === 'draining')).toBe(true)
  }
  // By the clocks of the nodes: how slow the clients are does not matter.
  const drains = drainsIn(deployment.said)
  expect(drains).toHaveLength(deployment.nodes.length)
  for (const { sessions, tookMs, mostPer100Ms } of drains) {
    expect(mostPer100Ms).toBeLessThanOrEqual((2 * 110 * sessions) / drainPeriodMs + 2)
    expect(tookMs).toBeGreaterThan(drainPeriodMs * 0.8)
  }
  const slices = [...perSlice([...report.returns, ...returns]).values()]
  console.log(`${accepted} events, ${repeated} attempts repeated; ${report.returns.length + returns.length} returns, per 100 ms: ${slices.join(' ')}`)
  for (const { socket } of sessions) socket.disconnect()
})
