import { expect, test } from 'vitest'
import type { Entry } from '../../src/core/entry.ts'
import { BridgeError } from '../../src/errors.ts'
import { createRandom } from '../support/random.ts'
import { startRedis } from '../support/redis.ts'
import { entriesOf, eventTo, membership, positionsOf, until } from './entries.ts'
import { openRedisLog } from './open-redis.ts'
import { startNode, untilSeen } from './redis-node.ts'

// Events that are appended together share entries of the stream.

const digest = 'd'
const numbered = (count: number, more: (index: number) => object = () => ({})): readonly Entry[] =>
  Array.from({ length: count }, (_, index) => eventTo('r', { id: `${index}`, ...more(index) }))

test('whatever is appended together, each entry is told apart: stored, repeated or in conflict, at its own place', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no' } })
  const [node, other] = [await startNode(redis), await startNode(redis)]
  const random = createRandom()
  const known = new Map<string, { readonly position: number; readonly digest: string }>()
  const order: string[] = []
  let repeated = 0
  for (let round = 0; round < 60; round++) {
    const entries = Array.from({ length: random.between(1, 120) }, (_, index): Entry => {
      const kind = random.between(0, 20)
      if (kind === 0) return membership({ user: 'u' }, 'room', index % 2 === 0)
      if (kind === 1) return eventTo('r', { id: `volatile ${round} ${index}`, volatile: true })
      if (kind < 8) return eventTo('r', { id: `free ${round} ${index}`, data: JSON.stringify('ü'.repeat(random.between(0, 3000))) })
      return eventTo('r', { id: `id ${random.between(0, 1500)}`, digest: `${random.between(0, 1)}` })
    })
    const appended = await node.log.append(entries)
    expect(appended).toHaveLength(entries.length)
    for (const [index, entry] of entries.entries()) {
      const { outcome, position } = appended[index] ?? { outcome: 'none', position: 0 }
      const before = entry.kind === 'event' && entry.digest !== undefined ? known.get(entry.id) : undefined
      if (entry.kind === 'event' && before !== undefined) {
        expect({ outcome, position }).toEqual({ outcome: before.digest === entry.digest ? 'duplicate' : 'conflict', position: before.position })
        repeated++
        continue
      }
      expect(outcome).toBe('stored')
      if (entry.kind === 'event' && entry.digest !== undefined) known.set(entry.id, { position, digest: entry.digest })
      order.push(entry.kind === 'event' ? entry.id : entry.kind)
    }
    const places = positionsOf(appended.filter(({ outcome }) => outcome === 'stored'))
    expect(places).toEqual([...new Set(places)].toSorted((a, b) => a - b))
  }
  expect(repeated).toBeGreaterThan(100)
  await until(() => other.seen.length === order.length)
  expect(node.seen).toEqual(order)
  expect(other.seen).toEqual(order)
  const reopened = await openRedisLog(redis)
  const kept = order.filter((id) => id !== 'membership' && !id.startsWith('volatile'))
  expect(entriesOf(reopened.read(0, ['room:r'], 1e6)).map(({ id }) => id)).toEqual(kept)
  expect(reopened.read(0, ['room:r'], 1e6)).toEqual(node.log.read(0, ['room:r'], 1e6))
})

test('a repeated call whose events are all known stores nothing', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no' } })
  const log = await openRedisLog(redis)
  const first = await log.append(numbered(100, () => ({ digest })))
  const head = log.head()
  const again = await log.append(numbered(100, () => ({ digest })))
  expect(again).toEqual(first.map((appended) => ({ ...appended, outcome: 'duplicate' })))
  expect(log.head()).toBe(head)
})

test('what is trimmed in the middle of what was appended together stays away after a start', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no' } })
  const log = await openRedisLog(redis, { retentionEvents: 10, sweepMs: 10 })
  const appended = positionsOf(await log.append(numbered(33)))
  await until(() => log.first() === appended[23])
  await until(() => entriesOf(log.read(log.head() - 10, ['room:r'], 100)).length === 10)
  const reopened = await openRedisLog(redis, { retentionEvents: 10 })
  expect(reopened.first()).toBeGreaterThan(0)
  expect(reopened.read((appended[22] ?? 0) - 1, ['room:r'], 100)).toEqual({ gap: true })
  expect(entriesOf(reopened.read(appended[22] ?? 0, ['room:r'], 100)).map(({ id }) => id)).toEqual(
    numbered(33)
      .slice(23)
      .map((entry) => (entry.kind === 'event' ? entry.id : '')),
  )
})

test('a node stops in front of what a later version has written, says so, and goes on from there', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no' } })
  const node = await startNode(redis)
  await node.append('a')
  const seen = node.seen.length
  const later = String(await redis.command('XADD', '{test}:log', '*', 'q', 'a new kind of entry'))
  await until(() => !node.log.health().appendable)
  expect(node.log.health()).toMatchObject({ appendable: false, reason: expect.stringContaining('later version') })
  await expect(node.log.append([eventTo('r')])).rejects.toMatchObject({ code: 'log_unavailable' })
  expect(node.log.read(0, ['room:r'], 10)).toMatchObject({ gap: false, entries: [{ entry: { id: 'a' } }] })
  const starting = openRedisLog(redis).catch((error: unknown) => error)
  expect(await starting).toMatchObject({ code: 'log_foreign', message: expect.stringContaining('update this node') })
  expect(await starting).toBeInstanceOf(BridgeError)
  expect([node.seen.length, node.told]).toEqual([seen, 0])
  await redis.command('XDEL', '{test}:log', later)
  await node.appendAtLast(eventTo('r', { id: 'b' }))
  await untilSeen(node, 'b')
  expect(node.told).toBe(0)
})

test('what stands there that no version has written is reported and passed over', async () => {
  await using redis = await startRedis({ config: { appendonly: 'no' } })
  const failures: unknown[] = []
  const log = await openRedisLog(redis, { onFailure: (error) => failures.push(error) })
  const seen: string[] = []
  log.follow((entries) => seen.push(...entries.map(({ entry }) => (entry.kind === 'event' ? entry.id : entry.kind))))
  const damaged = Buffer.alloc(4, 255).toString('latin1')
  for (const [name, value] of [
    ['nobody', 'of ours'],
    ['p', damaged],
    ['e', 'x'],
  ] as const) {
    await redis.command('XADD', '{test}:log', '*', name, value)
  }
  await until(() => failures.length >= 3)
  expect(failures).toEqual([1, 2, 3].map(() => expect.objectContaining({ code: 'log_damaged' })))
  await log.append([eventTo('r', { id: 'a' })])
  expect(seen).toEqual(['a'])
})
