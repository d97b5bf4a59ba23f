import { describe, expect, test } from 'vitest'
import type { Entry } from '../../src/core/entry.ts'
import { createRandom } from '../support/random.ts'
import { inSync, startRedis, startSentinel } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { eventTo, membership, onlyPosition, positionsOf, until } from './entries.ts'
import { openRedisLog } from './open-redis.ts'
import { startNode, untilSeen } from './redis-node.ts'

const revocation = (id: string): Entry => ({ kind: 'revocation', revocation: { id, user: id, expiresAt: Date.now() + 1e9 } })
const missing = (accepted: readonly string[], seen: readonly string[]): readonly string[] => {
  const there = new Set(seen)
  return accepted.filter((id) => !there.has(id))
}
const repeated = (seen: readonly string[]): readonly string[] => seen.filter((id, index) => seen.indexOf(id) !== index)

describe('nothing is lost, and nobody is told anything', () => {
  test('all nodes see one order', async () => {
    await using redis = await startRedis()
    const nodes = [await startNode(redis), await startNode(redis)]
    const storms = nodes.map((node, index) => node.storm(`${index}.`))
    await until(() => nodes.every(({ seen }) => seen.length > 2000))
    const accepted = (await Promise.all(storms.map((storm) => storm.stop()))).flat()
    await until(() => nodes.every(({ seen }) => seen.length >= accepted.length))
    expect(nodes[0]?.seen).toEqual(nodes[1]?.seen)
    expect(missing(accepted, nodes[0]?.seen ?? [])).toEqual([])
    expect(repeated(nodes[0]?.seen ?? [])).toEqual([])
  })

  test('when connections break, also in the middle of an append', async () => {
    await using redis = await startRedis()
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const [node, witness] = [await startNode(proxy), await startNode(redis)]
    const { epoch } = node.log
    const storm = node.storm('')
    for (let round = 0; round < 15; round++) {
      const from = witness.seen.length
      await until(() => witness.seen.length > from + 30)
      proxy.cut()
    }
    const accepted = await storm.stop()
    await node.appendAtLast(eventTo('r', { id: 'last' }))
    await untilSeen(witness, 'last')
    expect(accepted.length).toBeGreaterThan(100)
    expect(missing(accepted, node.seen)).toEqual([])
    expect(node.seen).toEqual(witness.seen)
    expect(repeated(witness.seen)).toEqual([])
    expect([node.told, witness.told, node.log.epoch]).toEqual([0, 0, epoch])
  })

  test('when Redis is killed while it writes, and comes back with its append-only file', async () => {
    await using redis = await startRedis({ config: { appendfsync: 'always' } })
    const nodes = [await startNode(redis), await startNode(redis)]
    const epoch = nodes[0]?.log.epoch
    const storms = nodes.map((node, index) => node.storm(`${index}.`))
    for (let round = 0; round < 3; round++) {
      const from = nodes[1]?.seen.length ?? 0
      await until(() => (nodes[1]?.seen.length ?? 0) > from + 300)
      await redis.kill()
      await redis.start()
    }
    const accepted = (await Promise.all(storms.map((storm) => storm.stop()))).flat()
    await nodes[0]?.appendAtLast(eventTo('r', { id: 'last' }))
    for (const node of nodes) {
      await untilSeen(node, 'last')
      expect(missing(accepted, node.seen)).toEqual([])
      expect(repeated(node.seen)).toEqual([])
      expect([node.told, node.log.epoch]).toEqual([0, epoch])
    }
    expect(nodes[0]?.seen).toEqual(nodes[1]?.seen)
  })

  test('when all is trimmed right behind those who read it', async () => {
    await using redis = await startRedis({ config: { appendonly: 'no', 'stream-node-max-entries': '1' } })
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const retention = { retentionEvents: 4, sweepMs: 1 }
    const nodes = [await startNode(redis, retention), await startNode(proxy, retention)]
    const random = createRandom()
    const kinds: readonly ((id: string) => Entry)[] = [
      (id) => eventTo('r', { id }),
      (id) => eventTo('r', { id, volatile: true }),
      (id) => membership({ session: id }, 'r', true),
      (id) => ({ kind: 'session-ended', session: id }),
      (id) => revocation(id),
    ]
    const appended: string[] = []
    for (let round = 0; round < 60; round++) {
      // A node that begins in the middle finds its place too.
      if (round % 10 === 9) {
        const late = await startNode(redis, retention)
        late.log.append([eventTo('r', { id: `late ${round}` })]).catch(() => undefined)
        appended.push(`late ${round}`)
        await untilSeen(late, `late ${round}`)
        await late.log.close()
        expect(late.told).toBe(0)
      }
      if (round % 15 === 14) proxy.cut()
      const entries = Array.from({ length: random.between(1, 3) }, (_, index) => {
        const toEntry = kinds[random.between(0, kinds.length - 1)] ?? revocation
        return toEntry(`${round}.${index}`)
      })
      await nodes[0]?.log.append(entries)
      appended.push(...entries.map((entry) => (entry.kind === 'event' ? entry.id : entry.kind)))
      await until(() => nodes.every(({ seen, told }) => told > 0 || seen.length === appended.length))
    }
    for (const { seen, told } of nodes) expect([told, seen]).toEqual([0, appended])
  })

  test('when all nodes have left in order before Redis is started anew', async () => {
    await using redis = await startRedis()
    const node = await startNode(redis)
    await node.append('a')
    const offset = node.log.offsetOf(node.log.head())
    const { epoch } = node.log
    await node.log.close()
    await redis.shutdown()
    await redis.start()
    const { log } = await startNode(redis)
    expect([log.epoch, log.positionOf(offset)]).toEqual([epoch, log.head()])
  })

  test('when a replica takes over that has acknowledged what was accepted', async () => {
    await using master = await startRedis()
    await using replica = await startRedis({ config: { replicaof: `127.0.0.1 ${master.port}` } })
    await inSync(master)
    const sentinel = await startSentinel(master)
    try {
      const endpoint = { servers: [{ host: '127.0.0.1', port: sentinel.port }], master: 'mymaster', tls: false, database: 0 }
      const node = await startNode(master, { endpoint, waitReplicas: 1 })
      const { epoch } = node.log
      await node.append('before')
      await master.kill()
      // The new master has no replica that could acknowledge.
      await until(() => !node.log.health().appendable && /acknowledged/.test(JSON.stringify(node.log.health())))
      expect([node.told, node.log.epoch]).toEqual([0, epoch])
      expect(await replica.command('ROLE')).toContain('master')
    } finally {
      await sentinel.close()
    }
  })
})

describe('every session is told', () => {
  const user = { user: '7' }

  test('when Redis comes back empty; rights that had ended have ended still', async () => {
    await using redis = await startRedis({ config: { appendonly: 'no' } })
    const nodes = [await startNode(redis), await startNode(redis)]
    const [node] = nodes
    if (node === undefined) throw new Error('no node')
    const { epoch, secret } = node.log
    const positions = positionsOf(
      await node.log.append([membership(user, 'r', true), membership(user, 'r', false), revocation('9'), eventTo('r', { id: 'gone' })]),
    )
    const offset = node.log.offsetOf(positions[3] ?? 0)
    await until(() => nodes.every(({ seen }) => seen.includes('gone')))
    await redis.kill()
    await redis.start()
    await until(() => nodes.every(({ told }) => told > 0))
    await node.appendAtLast(eventTo('r', { id: 'new' }))
    await until(() => nodes.every(({ seen }) => seen.includes('new')))
    for (const { log } of nodes) {
      expect(log.epoch).toBe(node.log.epoch)
      expect(log.epoch).not.toBe(epoch)
      expect(log.secret).toEqual(secret)
      expect(log.positionOf(offset)).toBeUndefined()
      expect(log.first()).toBeGreaterThan(positions[3] ?? 0)
      expect(log.memberships(user).get('r')).toMatchObject({ present: false })
      expect(log.revocations().map(({ entry }) => entry.revocation.id)).toEqual(['9'])
    }
  })

  test('when Redis comes back with an older state', async () => {
    await using redis = await startRedis()
    const node = await startNode(redis)
    await node.append('kept')
    await redis.shutdown()
    const copy = await redis.copyFiles()
    await redis.start()
    await node.appendAtLast(eventTo('r', { id: 'lost' }))
    await node.appendAtLast(membership(user, 'r', false))
    const offset = node.log.offsetOf(node.log.head())
    expect(node.told).toBe(0)
    await redis.kill()
    await redis.restoreFiles(copy)
    await redis.start()
    await until(() => node.told === 1)
    expect(node.log.positionOf(offset)).toBeUndefined()
    expect(node.log.memberships(user).get('r')).toMatchObject({ present: false })
    const reading = node.log.read(node.log.first() - 1, ['room:r'], 10)
    expect(reading.gap ? [] : reading.entries.map(({ entry }) => entry.kind === 'event' && entry.id)).toEqual(['kept'])
  })

  test('when the data is thrown away while all are connected', async () => {
    await using redis = await startRedis()
    const nodes = [await startNode(redis), await startNode(redis)]
    await nodes[0]?.append('a')
    await redis.command('FLUSHALL')
    await until(() => nodes.every(({ told, log }) => told === 1 && log.health().appendable))
    expect(nodes[0]?.log.epoch).toBe(nodes[1]?.log.epoch)
  })

  test('when the nodes and Redis have ended at once', async () => {
    await using redis = await startRedis()
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const node = await startNode(proxy)
    await node.append('a')
    const { epoch } = node.log
    // As one that is killed: nothing of it reaches Redis any more.
    proxy.refuse()
    await node.log.close()
    await redis.kill()
    await redis.start()
    const { log } = await startNode(redis)
    expect(log.epoch).not.toBe(epoch)
  })

  test('when a replica takes over that lacks what was accepted; no offset is given out twice', async () => {
    await using master = await startRedis()
    await using replica = await startRedis({ config: { replicaof: `127.0.0.1 ${master.port}` } })
    await inSync(master)
    const sentinel = await startSentinel(master)
    try {
      const endpoint = { servers: [{ host: '127.0.0.1', port: sentinel.port }], master: 'mymaster', tls: false, database: 0 }
      const nodes = [await startNode(master, { endpoint }), await startNode(master, { endpoint })]
      const [node] = nodes
      if (node === undefined) throw new Error('no node')
      await node.append('both')
      await inSync(master)
      replica.freeze()
      await node.append('only the master')
      await node.log.append([membership(user, 'r', false)])
      await until(() => nodes.every(({ seen }) => seen.includes('membership')))
      const lost = node.log.offsetOf(node.log.head())
      const head = node.log.head()
      await master.kill()
      replica.thaw()
      await until(() => nodes.every(({ told }) => told > 0))
      await node.appendAtLast(eventTo('r', { id: 'after' }))
      await until(() => nodes.every(({ seen }) => seen.includes('after')))
      for (const { log } of nodes) {
        expect(log.epoch).toBe(node.log.epoch)
        expect(log.positionOf(lost)).toBeUndefined()
        expect(log.head()).toBeGreaterThan(head)
        expect(log.memberships(user).get('r')).toMatchObject({ present: false })
      }
    } finally {
      await sentinel.close()
    }
  })

  test('when the log was trimmed past where a node was', async () => {
    await using redis = await startRedis()
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const node = await startNode(proxy)
    const other = await startNode(redis, { retentionEvents: 5, sweepMs: 5 })
    await other.append('a')
    await untilSeen(node, 'a')
    const { epoch } = node.log
    proxy.refuse()
    await other.log.append(Array.from({ length: 500 }, () => eventTo('r')))
    await until(() => other.log.head() === other.log.first() + 4)
    await until(() => !node.log.health().appendable)
    proxy.restore()
    await until(() => node.told === 1)
    expect(node.log.epoch).toBe(epoch)
    expect(node.log.head()).toBe(other.log.head())
  })

  // Late, not cut: what is left when the node reads on may fit into one reading, or be nothing at all.
  test.each([
    ['events', { retentionEvents: 5 }, [eventTo('r', { id: 'behind' })], 2],
    ['a volatile event', { retentionAgeMs: 1 }, [eventTo('r', { id: 'behind', volatile: true })], 0],
    ['nothing', { retentionAgeMs: 1 }, [], 0],
  ] as const)('when the log was trimmed past a node whose line is slow, and behind what is missing stands %s', async (_, retention, behind, left) => {
    // Each entry a node of its own, so that all that may go goes.
    await using redis = await startRedis({ config: { appendonly: 'no', 'stream-node-max-entries': '1' } })
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const log = await openRedisLog(proxy, { canaryMs: 100 })
    const seen: string[] = []
    log.follow(
      (entries) => seen.push(...entries.map(({ entry }) => (entry.kind === 'event' ? entry.id : entry.kind))),
      () => seen.push('told'),
    )
    const { epoch } = log
    const offset = log.offsetOf(onlyPosition(await log.append([eventTo('r', { id: 'a' })])))
    const other = await startNode(redis, { ...retention, sweepMs: 5 })
    proxy.hold()
    // The answer to what it asks now: no more comes until it has it.
    await other.append('late')
    await other.log.append(Array.from({ length: 70 }, () => eventTo('r')))
    for (const event of behind) await other.log.append([event])
    while (Number(await redis.command('XLEN', '{test}:log')) > left);
    proxy.restore()
    await until(() => seen.includes('told') && log.health().appendable)
    await log.append([eventTo('r', { id: 'after' })])
    expect(seen.filter((id) => id !== 'late')).toEqual(['a', 'told', 'after'])
    expect(log.epoch).toBe(epoch)
    expect(log.read(log.positionOf(offset) ?? -1, ['room:r'], 100)).toEqual({ gap: true })
  })

  test('when somebody has taken entries out of the log', async () => {
    await using redis = await startRedis({ config: { appendonly: 'no' } })
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
    const node = await startNode(proxy)
    const other = await startNode(redis)
    await node.append('a')
    const offset = node.log.offsetOf(node.log.head())
    proxy.hold()
    for (const id of ['late', 'b', 'c']) await other.append(id)
    const [[id]] = (await redis.command('XREVRANGE', '{test}:log', '+', '-', 'COUNT', '2')) as [[string]]
    await other.append('d')
    await redis.command('XDEL', '{test}:log', id)
    proxy.restore()
    await until(() => node.told === 1)
    expect(node.log.read(node.log.positionOf(offset) ?? -1, ['room:r'], 10)).toEqual({ gap: true })
    await node.appendAtLast(eventTo('r', { id: 'e' }))
    await untilSeen(node, 'e')
    expect([node.told, other.told]).toEqual([1, 0])
  })
})
