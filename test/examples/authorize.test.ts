import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'

const secret = `whsec_${randomBytes(32).toString('base64')}`

/** Authorize.java on a free port. */
async function startJava() {
  const child = spawn('java', [fileURLToPath(new URL('../../examples/java/Authorize.java', import.meta.url)), '0'], {
    env: { ...process.env, SIDECAST_AUTHORIZE_SECRET: secret },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stdout })) if (lines.push(line) === 2) break
  return {
    /** What it says that the bridge is to be set to, without SIDECAST_. */
    settings: Object.fromEntries(lines.map((line) => line.replace('SIDECAST_', '').split('=') as [string, string])),
    async [Symbol.asyncDispose]() {
      const closed = once(child, 'close')
      child.kill('SIGKILL')
      await closed
    },
  }
}

test('the Java example decides on rooms and logins, for a bridge that has its secret', async () => {
  await using java = await startJava()
  const settings = { ...java.settings, AUTHORIZE_SECRET: secret }
  await using bridge = await startTestBridge(settings)
  await using session = connectSession(bridge.publicUrl, { token: '1|opaque-token-of-42' })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: '42', rooms: ['user:42', 'news'] })
  expect(await session.request('sidecast:join', { room: 'order:8' })).toMatchObject({ ok: true })
  for (const room of ['order:9', 'order:8"', 'x","room":"order:8', 'order:8\\'])
    expect(await session.request('sidecast:join', { room })).toMatchObject({ error: { code: 'room_forbidden' } })
  await using stranger = connectSession(bridge.publicUrl, { token: '2|opaque' })
  expect(await stranger.refused()).toMatchObject({ code: 'token_signature' })
  // A user whose name would say more than a name.
  await using clever = connectSession(bridge.publicUrl, { token: login('x","user":"42') })
  expect(await clever.request('sidecast:join', { room: 'order:8' })).toMatchObject({ error: { code: 'room_forbidden' } })

  await using other = await startTestBridge({ ...settings, AUTHORIZE_SECRET: `whsec_${randomBytes(32).toString('base64')}` })
  await using unknown = connectSession(other.publicUrl, { token: '1|opaque-token-of-42' })
  expect(await unknown.refused()).toMatchObject({ code: 'unavailable' })
})
