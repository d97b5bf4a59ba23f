import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { startServerProcess } from './server-processes.ts'

const wayTo = {
  'in auth over WebSocket': (token: string) => ({ token, transports: ['websocket'] }),
  'in auth over polling': (token: string) => ({ token, transports: ['polling'] }),
  'in auth over polling, then WebSocket': (token: string) => ({ token, transports: ['polling', 'websocket'] }),
  'in a header of WebSocket': (token: string) => ({ transports: ['websocket'], extraHeaders: { authorization: `Bearer ${token}` } }),
  'in a header of polling, then WebSocket': (token: string) => ({
    transports: ['polling', 'websocket'],
    extraHeaders: { authorization: `Bearer ${token}` },
  }),
  'in a cookie of WebSocket': (token: string) => ({
    transports: ['websocket'],
    extraHeaders: { cookie: `a=b; jwt=${token}`, origin: 'https://a.example' },
  }),
  'in a cookie of polling, then WebSocket': (token: string) => ({
    transports: ['polling', 'websocket'],
    extraHeaders: { cookie: `jwt=${token}`, origin: 'https://a.example' },
  }),
  'in the query of WebSocket': (token: string) => ({ transports: ['websocket'], query: { jwt: token } }),
  'in the query of polling, then WebSocket': (token: string) => ({ transports: ['polling', 'websocket'], query: { jwt: token } }),
}

test('a login token that came in any way is nowhere in memory once its session is open', { timeout: 60_000 }, async () => {
  await using bridge = await startServerProcess('bridge', {
    TOKEN_SOURCES: 'auth,header,cookie:jwt,query:jwt',
    ALLOWED_ORIGINS: 'https://a.example',
  })
  const tokens = new Map<string, string>()
  await using sessions = new AsyncDisposableStack()
  for (const [way, options] of Object.entries(wayTo)) {
    const token = login(`user of ${way}`, { jti: way })
    tokens.set(way, token)
    const session = sessions.use(connectSession(bridge.publicUrl, options(token)))
    await session.notice('sidecast:ready')
    const { engine } = session.socket.io
    if (way.endsWith('then WebSocket') && engine.transport.name === 'polling') await new Promise((resolve) => engine.once('upgrade', resolve))
  }
  const path = join(bridge.directory, 'memory.heapsnapshot')
  await bridge.ask('snapshot', path)
  const memory = await readFile(path, 'latin1')
  // What must be found if the search is to mean anything.
  expect(memory).toContain('user of in auth over WebSocket')
  const found = [...tokens].flatMap(([way, token]) => {
    const [, claims = '', signature = ''] = token.split('.')
    return memory.includes(signature) || memory.includes(claims) ? [way] : []
  })
  expect(found).toEqual([])
})
