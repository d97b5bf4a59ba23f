import { describe, expect, test } from 'vitest'
import { startRedis } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { eventTo, membership, until } from './entries.ts'
import { openRedisLog } from './open-redis.ts'
import { startNode, untilSeen } from './redis-node.ts'

/** The least that a user may have, as docs/scaling.md gives it. */
const acl =
  '~{sidecast}:* resetchannels -@all +auth +select +info +time +wait +eval +evalsha +exists +del +set +get +mget +pexpire ' +
  '+hset +hget +hmget +hgetall +hlen +hdel +hscan +zadd +zcard +zrangebylex +zrem +xadd +xlen +xrange +xrevrange +xread +xtrim'

describe('a node says what is wrong with its Redis, and goes on when it is cured', () => {
  test('it is not there', async () => {
    await using redis = await startRedis()
    const node = await startNode(redis)
    await redis.kill()
    await until(() => !node.log.health().appendable)
    expect(node.log.health()).toMatchObject({ reason: expect.stringMatching(/cannot be reached/) })
    await expect(node.append('a')).rejects.toMatchObject({ code: 'log_unavailable' })
    await redis.start()
    await until(() => node.log.health().appendable)
    await node.append('b')
    expect(node.seen).toEqual(['b'])
  })

  test('the way to it swallows everything', async () => {
    await using redis = await startRedis()
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const node = await startNode(proxy)
    const other = await startNode(redis)
    await node.append('before')
    proxy.blackHole()
    const underWay = node.append('under way')
    await expect(underWay).rejects.toMatchObject({ code: 'log_unavailable' })
    expect(node.log.health()).toMatchObject({ appendable: false, reason: expect.stringMatching(/has not answered/) })
    await expect(node.append('refused')).rejects.toMatchObject({ code: 'log_unavailable' })
    await other.append('meanwhile')
    proxy.restore()
    await untilSeen(node, 'meanwhile')
    await until(() => node.log.health().appendable)
    await node.append('after')
    expect(node.seen).toEqual(['before', 'meanwhile', 'after'])
    expect(node.told).toBe(0)
  })

  test('it answers, and what the node writes does not come back', async () => {
    await using redis = await startRedis()
    const node = await startNode(redis)
    // As if its clock had been put back: canaries come to stand where the node has read already.
    await redis.command('XADD', '{test}:canary', `${Date.now() + 2 ** 30}-0`, 'token', 'of another node')
    const writtenAt = performance.now()
    await until(() => performance.now() - (node.log.health().canaryAgeMs ?? 0) > writtenAt)
    await redis.command('DEL', '{test}:canary')
    await node.append('a')
    await until(() => !node.log.health().appendable)
    const { canaryAgeMs, ...health } = node.log.health()
    expect(health).toEqual({ appendable: false, reason: expect.stringMatching(/nothing that this node writes has come back from Redis for \d+ s/) })
    // Far above what it takes.
    expect(canaryAgeMs).toBeLessThan(30_000)
    expect(await redis.command('XLEN', '{test}:canary')).toBeGreaterThan(1)
    await redis.command('XADD', '{test}:canary', `${Date.now() + 2 ** 31}-0`, 'token', 'of another node')
    await until(() => node.log.health().appendable)
    await node.append('b')
    expect([node.seen, node.told]).toEqual([['a', 'b'], 0])
  })

  test('it stands still', async () => {
    await using redis = await startRedis()
    const node = await startNode(redis)
    redis.freeze()
    await expect(node.append('a')).rejects.toMatchObject({ code: 'log_unavailable' })
    redis.thaw()
    await until(() => node.log.health().appendable)
    await node.append('b')
    expect(node.seen.at(-1)).toBe('b')
    expect(node.told).toBe(0)
  })

  test('it has reached its maxmemory; what is trimmed makes room', async () => {
    await using redis = await startRedis()
    const node = await startNode(redis, { sweepMs: 2 ** 30 })
    const big = { data: JSON.stringify('x'.repeat(100_000)) }
    for (let count = 0; count < 200; count++) await node.log.append([eventTo('r', big)])
    await redis.command('CONFIG', 'SET', 'maxmemory', '8mb')
    await expect(node.append('too much')).rejects.toMatchObject({ code: 'log_unavailable', message: expect.stringMatching(/maxmemory/) })
    expect(node.log.health()).toMatchObject({ appendable: false, reason: expect.stringMatching(/maxmemory/) })
    const reading = node.log.read(node.log.first() - 1, ['room:r'], 1000)
    expect(reading.gap ? 0 : reading.entries.length).toBe(200)
    const trimming = await startNode(redis, { retentionEvents: 1, sweepMs: 20 })
    await until(() => node.log.health().appendable)
    await node.append('again')
    await untilSeen(trimming, 'again')
    expect([node.told, trimming.told]).toEqual([0, 0])
  })

  test('it becomes a replica, and a master again: what was accepted elsewhere meanwhile is not known, so sessions are told', async () => {
    await using redis = await startRedis()
    const node = await startNode(redis)
    await redis.command('REPLICAOF', '127.0.0.1', '1')
    await until(() => /read-only replica/.test(JSON.stringify(node.log.health())))
    await expect(openRedisLog(redis, { openMs: 100 })).rejects.toMatchObject({ message: expect.stringMatching(/read-only replica/) })
    await redis.command('REPLICAOF', 'NO', 'ONE')
    await until(() => node.log.health().appendable)
    expect(node.told).toBe(1)
    await node.append('a')
    expect(node.seen).toEqual(['a'])
  })
})

describe('a node does not start', () => {
  const opening = (redis: { readonly port: number }, options: Parameters<typeof openRedisLog>[1] = {}) =>
    openRedisLog(redis, { openMs: 200, ...options })

  test('when nobody is there', async () => {
    await expect(opening({ port: 1 })).rejects.toMatchObject({
      code: 'log_unavailable',
      message: expect.stringMatching(/127\.0\.0\.1:1 cannot be reached/),
    })
  })

  test('when the password is wrong, or missing', async () => {
    await using redis = await startRedis({ config: { requirepass: 'right' } })
    const endpoint = { servers: [{ host: '127.0.0.1', port: redis.port }], tls: false, database: 0 }
    const refused = { message: expect.stringMatching(/SIDECAST_REDIS_URL/) }
    await expect(opening(redis)).rejects.toMatchObject(refused)
    await expect(opening(redis, { endpoint: { ...endpoint, password: 'wrong' } })).rejects.toMatchObject(refused)
    const log = await opening(redis, { endpoint: { ...endpoint, password: 'right' } })
    expect(log.health()).toMatchObject({ appendable: true })
  })

  test('when a key is something else', async () => {
    await using redis = await startRedis()
    await redis.command('SET', '{test}:meta', 'x')
    await expect(opening(redis)).rejects.toMatchObject({ message: expect.stringMatching(/SIDECAST_REDIS_PREFIX/) })
    await redis.command('DEL', '{test}:meta')
    await redis.command('HSET', '{test}:meta', 'a', 'b')
    await expect(opening(redis)).rejects.toMatchObject({ code: 'log_foreign', message: expect.stringMatching(/SIDECAST_REDIS_PREFIX/) })
  })

  test('when Redis may throw entries away; when it may only forget ids it says so', async () => {
    await using redis = await startRedis({ config: { maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' } })
    await expect(opening(redis)).rejects.toMatchObject({ message: expect.stringMatching(/maxmemory-policy noeviction/) })
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'volatile-lru')
    const warnings: unknown[] = []
    await opening(redis, { onFailure: (error) => warnings.push(error) })
    expect(warnings).toMatchObject([{ message: expect.stringMatching(/maxmemory-policy noeviction/) }])
  })

  test('when its user may not do all that is needed; the least is enough', async () => {
    await using redis = await startRedis()
    await redis.command('ACL', 'SETUSER', 'sidecast', 'on', '>secret', ...acl.split(' '))
    await redis.command('ACL', 'SETUSER', 'poor', 'on', '>secret', ...acl.split(' ').filter((rule) => rule !== '+zrem'))
    const endpoint = { servers: [{ host: '127.0.0.1', port: redis.port }], tls: false, database: 0, password: 'secret' }
    const options = { prefix: 'sidecast', endpoint: { ...endpoint, username: 'sidecast' }, retentionEvents: 2, sweepMs: 10 }
    await expect(opening(redis, { ...options, endpoint: { ...endpoint, username: 'poor' } })).rejects.toMatchObject({
      message: expect.stringMatching(/lacks a permission/),
    })
    const node = await startNode(redis, options)
    await node.log.append([
      membership({ session: 's' }, 'r', true),
      { kind: 'session-ended', session: 's' },
      { kind: 'revocation', revocation: { id: 'x', user: '7', expiresAt: Date.now() + 1e6 } },
      eventTo('r', { id: 'a', digest: 'd' }),
      eventTo('r', { id: 'v', volatile: true }),
    ])
    await until(() => node.log.first() > 1)
    expect(node.seen.length).toBe(5)
    const failures: unknown[] = []
    const again = await openRedisLog(redis, { ...options, onFailure: (error) => failures.push(error) })
    expect([again.head(), failures]).toEqual([node.log.head(), []])
  })
})

describe('a node speaks to', () => {
  test('a Redis with TLS, whose certificate it checks', async () => {
    await using redis = await startRedis({ tls: true })
    await using stranger = await startRedis({ tls: true })
    const node = await startNode(redis)
    await node.append('a')
    expect(node.seen).toEqual(['a'])
    const wrong = openRedisLog({ port: redis.port, ca: stranger.ca }, { openMs: 200 })
    await expect(wrong).rejects.toMatchObject({ message: expect.stringMatching(/SIDECAST_REDIS_CA/) })
    const plain = { servers: [{ host: '127.0.0.1', port: redis.port }], tls: false, database: 0 }
    await expect(openRedisLog(redis, { endpoint: plain, openMs: 200 })).rejects.toMatchObject({ code: 'log_unavailable' })
  })

  test('the node of a cluster that has its keys, whichever it is told of', async () => {
    const config = { 'cluster-enabled': 'yes' }
    await using one = await startRedis({ config })
    await using other = await startRedis({ config })
    // Each by its number: Redis 6.2 knows no ranges.
    const slots = Array.from({ length: 16_384 }, (_, slot) => String(slot))
    await one.command('CLUSTER', 'ADDSLOTS', ...slots.slice(0, 8192))
    await other.command('CLUSTER', 'ADDSLOTS', ...slots.slice(8192))
    await one.command('CLUSTER', 'MEET', '127.0.0.1', `${other.port}`)
    // Which of them has the keys depends on the prefix: one of the two is the wrong one.
    const nodes = [await startNode(one, { openMs: 20_000 }), await startNode(other, { openMs: 20_000 })]
    await nodes[0]?.append('a')
    for (const node of nodes) await untilSeen(node, 'a')
  })
})
