import { afterAll, beforeAll, expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { connectSession } from '../support/client.ts'
import { startConsumingBridge } from './consuming-bridge.ts'
import { deadLettersOf } from './dead-letters-of.ts'
import { parseSent } from './delivery.ts'
import { type Message, publishTo, untilMetric } from './observed.ts'

let broker: Broker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.close())

const revoke = (body: unknown, headers: Readonly<Record<string, unknown>> = {}): Message => ({
  body: typeof body === 'string' ? body : JSON.stringify(body),
  properties: { headers: { 'sidecast-command': 'revoke', ...headers } },
})

test('a revocation by message takes effect in order with the events around it', async () => {
  await using bridge = await startConsumingBridge(broker)
  const sessions = Array.from({ length: 20 }, (_, index) => connectSession(bridge.publicUrl, { token: login('7', { jti: `t${index}` }) }))
  await using other = connectSession(bridge.publicUrl, { token: login('7', { jti: 'other' }) })
  for (const session of [...sessions, other]) await session.notice('sidecast:ready')
  // Without a breath between them, so that many share a commit.
  const messages = sessions.flatMap((_, index) => [{ key: 'user.7.n', body: String(index) }, revoke({ user: 7, jti: `t${index}` })])
  await publishTo(broker, bridge.names.exchange, [...messages, { key: 'user.7.n', body: '20' }])
  await other.event(21)
  const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)
  expect(other.received.map(({ data }) => data)).toEqual(upTo(21))
  for (const [index, session] of sessions.entries()) {
    expect((await session.notice('sidecast:disconnect')).data).toMatchObject({ code: 'token_revoked', retry: false })
    expect(session.received.map(({ data }) => data)).toEqual(upTo(index + 1))
    session.socket.connect()
    expect(await session.refused()).toMatchObject({ code: 'token_revoked', retry: false })
    session.socket.disconnect()
  }
  expect((await bridge.call('GET', '/v1/revocations')).body.revocations).toHaveLength(20)
})

test('one that cannot be carried out is a dead letter that says why, and the next one is carried out', async () => {
  await using bridge = await startConsumingBridge(broker)
  await publishTo(broker, bridge.names.exchange, [
    revoke({}),
    revoke(''),
    revoke({ user: 7 }, { 'sidecast-users': '7' }),
    revoke({ jti: ['a'] }),
    revoke('{'),
    revoke({ jti: 'a', expiresAt: 1 }),
    revoke({ jti: 'good' }),
  ])
  expect(await deadLettersOf(broker, bridge.names.deadLetter, 6)).toEqual([
    expect.stringMatching(/^invalid_command: .*"revoke": the revocation names no tokens: give user, jti, sid or issuedBefore/),
    expect.stringMatching(/^invalid_command: .*names no tokens/),
    expect.stringMatching(/^invalid_command: .*from the body: no other sidecast-\* headers/),
    expect.stringMatching(/^invalid_command: .*\/jti must be a string or an integer/),
    expect.stringMatching(/^invalid_json: /),
    expect.stringMatching(/^invalid_revocation: \/expiresAt is over already/),
  ])
  await untilMetric(bridge, 'unacked', (count) => count === 0)
  expect((await bridge.call('GET', '/v1/revocations')).body.revocations).toMatchObject([{ jti: 'good' }])
})

test('the body is that of the call over HTTP, also when a converter has made a string of it', () => {
  const request = { user: '7', sid: 'a', issuedBefore: 1_700_000_000_000 }
  const body = JSON.stringify({ user: 7, sid: 'a', issuedBefore: 1_700_000_000 })
  for (const sent of [body, JSON.stringify(body)])
    expect(parseSent({ key: 'user.9.logout', body: sent, headers: { 'Sidecast-Command': 'revoke' } })).toEqual({ kind: 'revoke', request })
})
