import { randomBytes } from 'node:crypto'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { startBridge } from '../../src/bridge.ts'
import { loadConfig } from '../../src/config/config.ts'
import { callIngress, testEnvironment } from '../support/bridge.ts'

const makeKey = (): string => randomBytes(32).toString('base64url')

test('a file of API keys that changes is in force without a restart, and its last good content outlives a broken one', async () => {
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'api-keys')
  const [first, second, third] = [makeKey(), makeKey(), makeKey()]
  await writeFile(path, `shop:${first}:read\n`)
  const { SIDECAST_API_KEYS: _, ...env } = testEnvironment(directory.path, { API_KEYS_FILE: path })
  const logged: string[] = []
  const bridge = await startBridge(
    loadConfig({ args: [], env, cwd: directory.path }),
    pino({ level: 'error' }, { write: (line) => logged.push(line) }),
  )
  await using _stopped = { [Symbol.asyncDispose]: () => bridge.stop() }
  const status = async (key: string) =>
    (await callIngress(bridge.privateUrl, 'GET', '/v1/users/7', undefined, { authorization: `Bearer ${key}` })).status
  expect([await status(first), await status(second)]).toEqual([200, 401])

  // Rotation: both, under one name; then only the new one.
  await writeFile(path, `shop:${first}:read,shop:${second}:read\n`)
  await expect.poll(() => status(second)).toBe(200)
  expect(await status(first)).toBe(200)

  // In place of the old file, as Kubernetes and configuration tools do it.
  await writeFile(`${path}.new`, `shop:${second}:read`)
  await rename(`${path}.new`, path)
  await expect.poll(() => status(first)).toBe(401)

  await writeFile(path, `shop:${second}:read,other:tooshort:read`)
  await expect.poll(() => logged.some((line) => line.includes(path))).toBe(true)
  expect(logged.join()).not.toContain(second)
  expect(await status(second)).toBe(200)
  await writeFile(path, `shop:${third}:read`)
  await expect.poll(() => status(third)).toBe(200)
  expect(await status(second)).toBe(401)
})

async function temporaryDirectory() {
  const path = await mkdtemp(join(tmpdir(), 'sidecast-keys-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}
