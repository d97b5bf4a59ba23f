import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startNode } from '../log/redis-node.ts'
import { apiKey, login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { inSync, startRedis } from '../support/redis.ts'

test('with too few replicas everything is refused before it is written, until they are back', async () => {
  await using master = await startRedis({ config: { appendonly: 'no' } })
  await using replica = await startRedis({ config: { appendonly: 'no', replicaof: `127.0.0.1 ${master.port}` } })
  await inSync(master)
  await using bridge = await startTestBridge({ REDIS_URL: master.url, REDIS_WAIT: '1', REDIS_PREFIX: 'test' })
  await using session = connectSession(bridge.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  const publish = (data: string) => bridge.call('POST', '/v1/events', { event: 'numbered', data, to: { users: ['7'] } })
  const last = () => master.command('HGET', '{test}:meta', 'last')
  const untilReadiness = async (said: RegExp): Promise<void> => {
    while (!said.test(await (await fetch(`${bridge.privateUrl}/readyz`)).text())) await setTimeout(20)
  }
  expect(await publish('before')).toMatchObject({ status: 202 })

  await replica.kill()
  // Whoever finds it out may be stored all the same.
  expect(await publish('first')).toMatchObject({ status: 503, body: { code: 'log_unavailable' } })
  const written = await last()
  // One after the other: if each waited for a replica they would outlast the test.
  for (let count = 0; count < 200; count++) {
    const { status, headers } = await fetch(`${bridge.privateUrl}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ event: 'refused', to: { users: ['7'] } }),
    })
    expect([status, Number(headers.get('retry-after')) > 0]).toEqual([503, true])
  }
  expect(await bridge.call('PUT', '/v1/rooms/r/users/7')).toMatchObject({ status: 503 })
  expect(await last()).toBe(written)
  await untilReadiness(/SIDECAST_REDIS_WAIT/)

  await replica.start()
  await untilReadiness(/"ok"/)
  expect(await publish('after')).toMatchObject({ status: 202 })
  await session.until(() => session.received.some(({ data }) => data === 'after'))
  expect(session.received.map(({ data }) => data).filter((data) => data !== 'first')).toEqual(['before', 'after'])
})

test('whoever looks for replicas that are not there holds up nothing else', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no' } })
  const { log } = await startNode(redis, { waitReplicas: 1, canaryMs: 2000 })
  const isWaiting = async (): Promise<boolean> => / flags=\w*b\w* .* cmd=wait /.test(String(await redis.command('CLIENT', 'LIST')))
  const isHeldUp = async (): Promise<boolean> => {
    while (!(await isWaiting()));
    await log.remember(crypto.randomUUID(), 1000)
    return !(await isWaiting())
  }
  // It may also have ended by itself meanwhile.
  while (await isHeldUp());
})
