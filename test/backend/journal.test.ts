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
