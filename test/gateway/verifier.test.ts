import { once } from 'node:events'
import { expect, test } from 'vitest'
import { connectSession } from '../support/client.ts'
import { openRaw } from './raw-client.ts'
import { startGateway } from './start-gateway.ts'

const odd: readonly [string, unknown][] = [
  ['nothing', undefined],
  ['null', null],
  ['a text', 'canary'],
  ['an error of a library', new TypeError('canary')],
  ['an object that has no text', Object.create(null)],
  [
    'an object whose text throws',
    {
      toString: () => {
        throw new Error('canary')
      },
    },
  ],
  ['an error without a message', Object.assign(new Error('x'), { message: undefined })],
  ['an error that says that it is ours', Object.assign(new Error('canary'), { code: 'token_expired', name: 'BridgeError' })],
]

test.each(odd)('a verifier that throws %s refuses with a code and a fixed text, and the process goes on', async (_, thrown) => {
  for (const throwing of [
    () => Promise.reject(thrown),
    () => {
      throw thrown
    },
  ]) {
    await using gateway = await startGateway(throwing)
    await using session = connectSession(gateway.url, { token: 'x', reconnection: false })
    expect(await session.refused()).toEqual({ code: 'unavailable', message: 'The service is not available at the moment.', retry: true })
  }
})

test('a verifier that throws what cannot even be looked at costs that connection and not the process', async () => {
  const throwing = (): never => {
    throw new Error('canary')
  }
  await using gateway = await startGateway(() => Promise.reject(new Proxy({}, { getPrototypeOf: throwing })))
  await using raw = await openRaw(gateway.url)
  raw.send('40{"token":"x"}')
  await raw.closed
  expect(raw.packets.filter((packet) => packet.startsWith('4'))).toEqual([])
  expect(gateway.failures).toHaveLength(1)
})

test('a verifier that never answers holds a connection no longer than it may take to log in', async () => {
  await using gateway = await startGateway(() => new Promise(() => undefined), { connectTimeoutMs: 500 })
  await using session = connectSession(gateway.url, { token: 'x', reconnection: false })
  await new Promise((resolve) => session.socket.io.once('open', () => resolve(undefined)))
  const [reason] = await once(session.socket.io as never, 'close')
  expect(reason).toBe('transport close')
})

test('a log that fails while a session is taken in costs that connection and not the process', async () => {
  await using gateway = await startGateway(async () => ({ user: '42', rooms: [], grants: [] }))
  await using first = connectSession(gateway.url, { token: 'x', reconnection: false })
  await first.notice('sidecast:ready')
  await gateway.closeLog()
  await using second = connectSession(gateway.url, { token: 'x', reconnection: false })
  await second.closed()
  expect(gateway.failures.length).toBeGreaterThan(0)
  expect(second.notices).toEqual([])
})
