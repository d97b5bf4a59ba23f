import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { signRequest } from '../http/sign-request.ts'
import { startTestBridge } from '../support/bridge.ts'
import { startRedis } from '../support/redis.ts'

const secret = randomBytes(32)

test('a signed request that one node has taken is refused by another one, and none is taken while nobody can tell', async () => {
  await using redis = await startRedis()
  const settings = { REDIS_URL: redis.url, SIGNING_KEYS: `shop:whsec_${secret.toString('base64')}:publish+admin` }
  await using one = await startTestBridge(settings)
  await using other = await startTestBridge(settings)
  const body = JSON.stringify({ user: '7' })
  const signed = signRequest(secret, body)
  const post = async (url: string, headers: Readonly<Record<string, string>>) => {
    const response = await fetch(`${url}/v1/revocations`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })
    const { code } = (await response.json()) as { readonly code?: string }
    return { status: response.status, code }
  }
  expect(await post(one.privateUrl, signed)).toMatchObject({ status: 202 })
  expect(await post(other.privateUrl, signed)).toEqual({ status: 409, code: 'signature_replayed' })
  expect(await post(other.privateUrl, signRequest(secret, body))).toMatchObject({ status: 202 })
  await redis.kill()
  expect(await post(other.privateUrl, signRequest(secret, body))).toEqual({ status: 503, code: 'log_unavailable' })
})
