import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import jwt from 'jsonwebtoken'
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

/** Connects and is refused, with the token where it may stand. */
async function beRefused(url: string, options: Parameters<typeof connectSession>[1]): Promise<string> {
  await using session = connectSession(url, { ...options, reconnection: false })
  return (await session.refused()).code
}

test('a token that came in any way, taken or refused, is nowhere in memory afterwards', async () => {
  await using bridge = await startServerProcess('bridge', {
    TOKEN_SOURCES: 'auth,header,cookie:jwt,query:jwt',
    ALLOWED_ORIGINS: 'https://a.example',
  })
  const tokens = new Map<string, string>()
  const remember = (name: string, token: string): string => {
    tokens.set(name, token)
    return token
  }
  await using sessions = new AsyncDisposableStack()
  for (const [way, options] of Object.entries(wayTo)) {
    const token = remember(way, login(`user of ${way}`, { jti: way }))
    const session = sessions.use(connectSession(bridge.publicUrl, options(token)))
    await session.notice('sidecast:ready')
    const { engine } = session.socket.io
    if (way.endsWith('then WebSocket') && engine.transport.name === 'polling') await new Promise((resolve) => engine.once('upgrade', resolve))
    const expired = remember(`refused ${way}`, login(`stranger ${way}`, { exp: 1 }))
    expect(await beRefused(bridge.publicUrl, options(expired))).toBe('token_expired')
  }

  const session = sessions.use(connectSession(bridge.publicUrl, { token: remember('of the busy one', login('busy')) }))
  await session.notice('sidecast:ready')
  const ask = async (name: string, event: string, body: Readonly<Record<string, unknown>> & { readonly token: string }) => {
    remember(name, body.token)
    const { ok, error } = await session.request(event, body)
    return ok ? 'taken' : error?.code
  }
  const refresh = (name: string, token: string) => ask(name, 'sidecast:refresh', { token })
  expect(await refresh('a refresh', login('busy', { jti: 'refresh' }))).toBe('taken')
  expect(await refresh('a refresh of another user', login('another'))).toBe('token_claims')
  expect(await refresh('a refresh that is over', login('busy', { exp: 1 }))).toBe('token_expired')
  expect(await refresh('a refresh by a stranger', jwt.sign({ sub: 'busy', exp: 4e9 }, randomBytes(32)))).toBe('token_signature')
  const joinBy = (name: string, claims: Readonly<Record<string, unknown>>) =>
    ask(name, 'sidecast:join', { room: 'a', token: login('busy', { aud: 'sidecast:room', room: 'a', ...claims }) })
  expect(await joinBy('a room token', {})).toBe('taken')
  expect(await joinBy('a room token for another room', { room: 'b' })).toBe('room_forbidden')
  expect(await joinBy('a room token that is over', { exp: 1 })).toBe('token_expired')

  const path = join(bridge.directory, 'memory.heapsnapshot')
  await bridge.ask('snapshot', path)
  const memory = await readFile(path, 'latin1')
  // What must be found if the search is to mean anything.
  expect(memory).toContain('user of in auth over WebSocket')
  const found = [...tokens].flatMap(([name, token]) => {
    const [, claims = '', signature = ''] = token.split('.')
    return memory.includes(signature) || memory.includes(claims) ? [name] : []
  })
  expect(found).toEqual([])
})
