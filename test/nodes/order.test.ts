import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { createRandom } from '../support/random.ts'
import { startRedis } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

const rounds = 20
const kinds = ['membership', 'revocation', 'disconnect'] as const

test('what is published at one node after another node has acknowledged that a right has ended never reaches its user at a third', async () => {
  const random = createRandom()
  await using redis = await startRedis()
  await using way = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
  await using a = await startTestBridge({ REDIS_URL: redis.url })
  await using b = await startTestBridge({ REDIS_URL: redis.url })
  await using c = await startTestBridge({ REDIS_URL: `redis://127.0.0.1:${way.port}` })
  const total = { rounds: 0, secrets: 0, delivered: 0, leaked: 0, cuts: 0, noise: 0 }
  let over = false

  /** One right after the other, until one of them has ended each kind so many times. */
  const play = async (player: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      const kind = kinds[(round + player) % kinds.length] ?? 'membership'
      const user = `${player}-${round}`
      const to = kind === 'membership' ? { rooms: [`room-${player}`] } : { users: [user] }
      await using session = connectSession(c.publicUrl, { token: login(user) })
      await session.notice('sidecast:ready')
      expect((await a.call('PUT', `/v1/rooms/room-${player}/users/${user}`)).status).toBe(202)
      await b.publish({ event: 'open', to })
      await session.event(1)
      const ended =
        kind === 'membership'
          ? await a.call('DELETE', `/v1/rooms/room-${player}/users/${user}`)
          : kind === 'revocation'
            ? await a.call('POST', '/v1/revocations', { user })
            : await a.call('POST', `/v1/users/${user}/disconnect`)
      expect(ended.status).toBe(202)
      const secrets = random.between(1, 3)
      await Promise.all(Array.from({ length: secrets }, () => b.publish({ event: 'secret', to })))
      // What ends it, or something that is still for it, stands in front of the secrets or behind them.
      if (kind === 'membership') {
        await b.publish({ event: 'fence', to: { users: [user] } })
        await session.until(() => session.received.some(({ event }) => event === 'fence'))
      } else await session.notice('sidecast:disconnect')
      session.socket.disconnect()
      total.rounds++
      total.secrets += secrets
      total.delivered += session.received.length
      total.leaked += session.received.filter(({ event }) => event === 'secret').length
    }
  }
  const making = [a, b, c].map(async (node) => {
    while (!over) {
      // The third one is without Redis now and then.
      const { status } = await node.call('POST', '/v1/events', { event: 'noise', to: { users: ['nobody'] } })
      if (status === 202) total.noise++
      await setTimeout(random.between(0, 10))
    }
  })
  const cutting = async (): Promise<void> => {
    while (!over) {
      await setTimeout(random.between(20, 150))
      total.cuts += way.cut()
    }
  }
  try {
    const playing = async (): Promise<void> => {
      await Promise.all(Array.from({ length: 6 }, (_, player) => play(player)))
      over = true
    }
    await Promise.all([playing(), cutting(), ...making])
  } finally {
    over = true
  }
  console.log('ends of rights over three nodes', { seed: random.seed, ...total })
  expect(total).toMatchObject({ leaked: 0, rounds: rounds * 6 })
})
