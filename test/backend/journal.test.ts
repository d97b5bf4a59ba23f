import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import { connectSession } from '../support/client.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { authorizeSecret, startPhpApplication } from './php-application.ts'

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

test('the log says once that the application fails and why, and when it is back; never what clients have shown', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-test-'))
  folders.push(directory)
  await using application = await startPhpApplication()
  const { hostname, port } = new URL(application.url)
  await using way = await startTcpProxy({ host: hostname, port: Number(port) })
  const url = `http://${way.host}:${way.port}/authorize`
  await using bridge = new BridgeProcess(
    {
      AUTHORIZE_ROOMS_URL: url,
      AUTHORIZE_CONNECT_URL: url,
      AUTHORIZE_SECRET: authorizeSecret,
      AUTHORIZE_FORWARD: 'cookie,authorization',
      AUTHORIZE_CACHE: '0s',
      ALLOWED_ORIGINS: 'https://shop.example.com',
      LOG_LEVEL: 'trace',
    },
    { directory },
  )
  const { publicUrl } = await bridge.ready()
  const extraHeaders = { Origin: 'https://shop.example.com', Cookie: 'PHPSESSID=cookie-of-somebody', Authorization: 'Basic credentials-of-somebody' }
  const token = login('42')
  await using session = connectSession(publicUrl, { token, extraHeaders })
  await session.notice('sidecast:ready')
  way.refuse()
  for (let turn = 0; turn < 5; turn++)
    expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ error: { code: 'unavailable' } })
  await using opaque = connectSession(publicUrl, { token: 'opaque-token-of-somebody', extraHeaders })
  expect(await opaque.refused()).toMatchObject({ code: 'unavailable' })
  way.restore()
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: true })
  await bridge.said('room authorization is answered again')

  const failing = bridge.lines.filter((line) => line.includes('room authorization fails'))
  expect(failing).toHaveLength(1)
  expect(failing[0]).toContain('SIDECAST_AUTHORIZE_ROOMS_URL')
  expect(bridge.lines.filter((line) => line.includes('connect authorization fails'))).toHaveLength(1)
  expect(bridge.lines.filter((line) => line.includes('something failed'))).toEqual([])
  const log = bridge.lines.join('\n')
  for (const secret of [token, 'of-somebody', authorizeSecret.slice('whsec_'.length)]) expect(log).not.toContain(secret)
})

test('the log says once that a question about a room is answered as a wrong address would be', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-test-'))
  folders.push(directory)
  await using application = await startPhpApplication()
  const settings = { AUTHORIZE_ROOMS_URL: `${application.url}/nothing-here`, AUTHORIZE_SECRET: authorizeSecret, AUTHORIZE_CACHE: '0s' }
  await using bridge = new BridgeProcess(settings, { directory })
  const { publicUrl } = await bridge.ready()
  await using session = connectSession(publicUrl, { token: login('42') })
  const refused = { error: { code: 'room_forbidden' } }
  const joins = ['order:7', 'order:8', 'order:9'].map((room) => session.request('sidecast:join', { room }))
  expect(await Promise.all(joins)).toMatchObject([refused, refused, refused])
  await bridge.said('answers 404: is its path right?')
  bridge.signal('SIGTERM')
  await bridge.ended
  expect(bridge.lines.filter((line) => line.includes('SIDECAST_AUTHORIZE_ROOMS_URL'))).toHaveLength(1)
})

test('a 404 of an application that lets others in is its own word, and no line', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-test-'))
  folders.push(directory)
  await using application = await startPhpApplication()
  const url = `${application.url}/not-found-unless-allowed`
  await using bridge = new BridgeProcess({ AUTHORIZE_ROOMS_URL: url, AUTHORIZE_SECRET: authorizeSecret, AUTHORIZE_CACHE: '0s' }, { directory })
  const { publicUrl } = await bridge.ready()
  await using session = connectSession(publicUrl, { token: login('42') })
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: true })
  expect(await session.request('sidecast:join', { room: 'order:9' })).toMatchObject({ error: { code: 'room_forbidden' } })
  bridge.signal('SIGTERM')
  await bridge.ended
  expect(bridge.lines.filter((line) => line.includes('room authorization'))).toEqual([])
})
