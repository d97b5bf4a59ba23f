import { expect, onTestFinished, test } from 'vitest'
import type { Publisher } from '../src/core/access.ts'
import type { Draft } from '../src/core/draft.ts'
import { Hub } from '../src/core/hub.ts'
import type { Identity } from '../src/core/identity.ts'
import { Session } from '../src/core/session.ts'
import { EmbeddedLog } from '../src/log/embedded.ts'
import { createMetrics } from '../src/metrics/metrics.ts'
import { newFolder } from './log/folders.ts'
import { HeldLog } from './support/held-log.ts'
import { MemoryConnection } from './support/memory-connection.ts'

const backend: Publisher = { name: 'test', scopes: ['publish', 'read', 'admin'] }
const hour = 3_600_000

/** A hub with a clock that the test moves, on a log that it can hold back. */
async function openHub(directory = newFolder()) {
  const clock = { now: 1_000_000_500 }
  const failures: unknown[] = []
  const onFailure = (error: unknown) => void failures.push(error)
  const now = () => clock.now
  const keepAll = { retentionAgeMs: 1e15, retentionEvents: 1e9, dedupeWindowMs: 1e15 }
  const log = new HeldLog(await EmbeddedLog.open({ directory, durability: 'process', now, onFailure, ...keepAll }))
  const metrics = createMetrics({ sessions: () => 0, unackedMessages: () => 0, onFailure })
  let ids = 0
  const hub = new Hub({
    log,
    observer: metrics.observer,
    now,
    newId: () => `e${ids++}`,
    retentionAgeMs: hour,
    maxRoomsPerSession: 10,
    revocationAgeMs: hour,
    clockToleranceMs: 30_000,
  })
  onTestFinished(async () => {
    await log.close()
    expect(failures).toEqual([])
  })
  const attach = (identity: Identity, { capacity = Number.POSITIVE_INFINITY, after }: { capacity?: number; after?: number } = {}) => {
    const connection: MemoryConnection = new MemoryConnection(capacity, () => hub.detach(session))
    const session: Session = new Session(`s${ids++}`, identity, connection, clock.now)
    hub.attach(session, after === undefined ? {} : { after })
    return connection
  }
  const publish = (...events: readonly string[]) => hub.publish(backend, events.map(toAll))
  return { hub, log, clock, metrics, attach, publish, directory }
}

const toAll = (event: string): Draft => ({
  event,
  data: 'null',
  to: { users: [], rooms: [], sessions: [], all: true },
  except: { users: [], sessions: [] },
  volatile: false,
})

const identityOf = (user: string, more: Partial<Identity> = {}): Identity => ({ user, rooms: [], grants: [], ...more })
const eventsOf = ({ taken }: MemoryConnection): readonly string[] => taken.flatMap((item) => ('event' in item ? [item.event] : []))

function refusalOf(hub: Hub, identity: Identity): unknown {
  try {
    hub.requireUnrevoked(identity)
    return undefined
  } catch (error) {
    return (error as { readonly code?: unknown }).code
  }
}

/** Lets other work have its turn until it holds; bounded. */
async function eventually(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !holds(); turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(holds()).toBe(true)
}

test('whoever was let in just before its token and the revocation of it were over is not told what it missed', async () => {
  const { hub, clock, attach, publish } = await openHub()
  const identity = identityOf('7', { jti: 'a', expiresAt: clock.now + 5000 })
  await hub.revoke(backend, { jti: 'a', expiresAt: clock.now + 5000 })
  await publish('secret')
  clock.now += 34_999
  expect(refusalOf(hub, identity)).toBe('token_revoked')
  clock.now += 1
  const late = attach(identity, { after: 1 })
  expect(late.ended).toBe('expired')
  expect(late.taken).toEqual([])
})

test('a revocation that is stored and not dispatched yet refuses its tokens already', async () => {
  const { hub, log, attach } = await openHub()
  log.hold()
  const revoking = hub.revoke(backend, { jti: 'a' })
  await eventually(() => log.head() === 1)
  expect(refusalOf(hub, identityOf('7', { jti: 'a' }))).toBe('token_revoked')
  expect(refusalOf(hub, identityOf('7', { jti: 'b' }))).toBe(undefined)
  // Whoever was let in just before.
  expect(attach(identityOf('7', { jti: 'a' })).ended).toBe('revoked')
  const other = attach(identityOf('7', { jti: 'b' }))
  log.release()
  expect(await revoking).toMatchObject({ sessions: 0 })
  expect(other.ended).toBe(undefined)
})

test('a session that is being caught up reads nothing behind a revocation, dispatched or not', async () => {
  for (const ahead of [true, false]) {
    const { hub, log, attach, publish } = await openHub()
    const missed = Array.from({ length: 350 }, (_, number) => `missed.${number}`)
    await publish(...missed)
    const revoked = attach(identityOf('7', { jti: 'a' }), { capacity: 20, after: 0 })
    const other = attach(identityOf('7', { jti: 'b' }), { capacity: 20, after: 0 })
    for (const connection of [revoked, other]) connection.take(50)
    if (ahead) log.hold()
    const done = Promise.all([hub.revoke(backend, { jti: 'a' }), publish('secret')])
    await eventually(() => log.head() === 352)
    await eventually(() => revoked.take(50) === 0 && other.take(50) === 0)
    expect(revoked.ended).toBe('revoked')
    log.release()
    await done
    await eventually(() => {
      other.take(50)
      return eventsOf(other).length === 351
    })
    expect(eventsOf(other)).toEqual([...missed, 'secret'])
    expect(eventsOf(revoked)).not.toContain('secret')
  }
})

test('a session that has fallen behind is ended too, and what it had not read by then does not come', async () => {
  const { hub, attach, publish } = await openHub()
  const slow = attach(identityOf('7'), { capacity: 4 })
  await publish(...Array.from({ length: 100 }, (_, number) => `n.${number}`))
  expect(await hub.revoke(backend, { user: '7' })).toMatchObject({ sessions: 1 })
  await publish('secret')
  slow.take(1000)
  expect(slow.ended).toBe('revoked')
  expect(eventsOf(slow)).not.toContain('secret')
})

test('nothing behind a revocation reaches the revoked, however much is revoked and published at the same time', async () => {
  const { hub, attach, log } = await openHub()
  const sessions = Array.from({ length: 200 }, (_, index) => ({
    jti: String(index),
    connection: attach(identityOf(String(index % 20), { jti: String(index) })),
  }))
  const revoked = new Map<string, number>()
  const published: string[] = []
  await Promise.all(
    sessions.flatMap(({ jti }, index) => {
      const event = `e.${index}`
      published.push(event)
      const publishing = hub.publish(backend, [toAll(event)])
      if (index % 2 === 0) return [publishing]
      const revoking = hub.revoke(backend, { jti }).then(({ offset, sessions }) => {
        expect(sessions).toBe(1)
        revoked.set(jti, log.positionOf(offset) ?? 0)
      })
      return [publishing, revoking]
    }),
  )
  expect(revoked.size).toBe(100)
  for (const { jti, connection } of sessions) {
    const position = revoked.get(jti)
    const got = connection.taken.flatMap((item) => ('event' in item ? [item.position] : []))
    if (position === undefined) expect(eventsOf(connection)).toEqual(published)
    // All before it, and none behind it.
    else
      expect(got).toEqual(
        Array.from({ length: position }, (_, index) => index + 1).filter((at) => ![...revoked.values()].includes(at) && at < position),
      )
  }
})

test('all logins of a user until now: those of the same second too, those after it not', async () => {
  const { hub, attach, clock } = await openHub()
  const [second, next] = [1_000_000_000, 1_000_001_000]
  const before = attach(identityOf('7', { iat: second }))
  expect(await hub.revoke(backend, { user: '7' })).toMatchObject({ sessions: 1 })
  expect(before.ended).toBe('revoked')
  expect(refusalOf(hub, identityOf('7', { iat: second }))).toBe('token_revoked')
  expect(refusalOf(hub, identityOf('7'))).toBe('token_revoked')
  expect(refusalOf(hub, identityOf('7', { iat: next }))).toBe(undefined)
  expect(refusalOf(hub, identityOf('8', { iat: second }))).toBe(undefined)
  // A repetition is harmless for whoever has logged in since.
  clock.now += 2000
  const after = attach(identityOf('7', { iat: next }))
  await hub.revoke(backend, { user: '7', issuedBefore: next })
  expect(after.ended).toBe(undefined)
})

test('a session that was there is ended although the clock of its issuer is ahead, and its token stays out', async () => {
  const { hub, attach, log, clock } = await openHub()
  const early = identityOf('7', { iat: 1_000_020_000 })
  const there = attach(early)
  expect(await hub.revoke(backend, { user: '7' })).toMatchObject({ sessions: 1 })
  expect(there.ended).toBe('revoked')
  expect(refusalOf(hub, early)).toBe('token_revoked')
  expect(refusalOf(hub, identityOf('7', { iat: 1_000_021_000 }))).toBe(undefined)
  // Everybody's.
  const [one, other] = [attach(identityOf('8', { iat: 1_000_020_000 })), attach(identityOf('9', { iat: 1_000_000_000 }))]
  expect(await hub.revoke(backend, { issuedBefore: clock.now })).toMatchObject({ sessions: 2 })
  expect([one.ended, other.ended]).toEqual(['revoked', 'revoked'])
  // Of those who came while it was on its way only the token can tell.
  log.hold()
  const head = log.head()
  const revoking = hub.revoke(backend, { user: '10' })
  await eventually(() => log.head() > head)
  const [older, newer] = [attach(identityOf('10', { iat: 1_000_000_000 })), attach(identityOf('10', { iat: 1_000_001_000 }))]
  log.release()
  await revoking
  expect([older.ended, newer.ended]).toEqual(['revoked', undefined])
})

test('an earlier moment spares whoever has logged in since', async () => {
  const { hub, attach } = await openHub()
  const [old, recent] = [attach(identityOf('7', { iat: 999_990_000 })), attach(identityOf('7', { iat: 999_999_000 }))]
  expect(await hub.revoke(backend, { user: '7', issuedBefore: 999_995_000 })).toMatchObject({ sessions: 1 })
  expect([old.ended, recent.ended]).toEqual(['revoked', undefined])
})

test('all that is given has to apply', async () => {
  const { hub } = await openHub()
  await hub.revoke(backend, { user: '7', sid: 'browser', issuedBefore: 500 })
  const token = { sid: 'browser', iat: 400 }
  expect(refusalOf(hub, identityOf('7', token))).toBe('token_revoked')
  expect(refusalOf(hub, identityOf('8', token))).toBe(undefined)
  expect(refusalOf(hub, identityOf('7', { ...token, sid: 'phone' }))).toBe(undefined)
  expect(refusalOf(hub, identityOf('7', { iat: 400 }))).toBe(undefined)
  expect(refusalOf(hub, identityOf('7', { ...token, iat: 500 }))).toBe(undefined)
})

test('an expired revocation refuses nobody and is forgotten by a sweep, some at a time, but not one that has taken its place', async () => {
  const { hub, log, clock, metrics } = await openHub()
  const requests = Array.from({ length: 1000 }, (_, index) => ({ jti: String(index), expiresAt: clock.now + 5000 }))
  await hub.carryOut(
    backend,
    requests.map((request) => ({ kind: 'revoke', request })),
  )
  const inForce = () => metrics.render().then((text) => Number(/^sidecast_revocations (\d+)$/m.exec(text)?.[1]))
  // For as long as a token is taken after its end.
  clock.now += 34_999
  await hub.sweep()
  expect(await inForce()).toBe(1000)
  expect(refusalOf(hub, identityOf('7', { jti: '0' }))).toBe('token_revoked')
  clock.now += 1
  expect(refusalOf(hub, identityOf('7', { jti: '0' }))).toBe(undefined)
  const head = log.head()
  // It is decided on before the renewal is stored, and stored behind it.
  const renewal = hub.revoke(backend, { jti: '0' })
  await Promise.all([renewal, hub.sweep()])
  expect(log.head() - head).toBe(1001)
  expect(await inForce()).toBe(1)
  expect(log.revocations()).toHaveLength(1)
  expect(refusalOf(hub, identityOf('7', { jti: '0' }))).toBe('token_revoked')
  const end = log.head()
  await hub.sweep()
  expect(log.head()).toBe(end)
})

test('what looking for a revocation costs does not depend on how many there are', async () => {
  const { hub, log, attach, directory } = await openHub()
  const looks = (other: Hub): number => {
    let reads = 0
    const counted = new Proxy(identityOf('7', { jti: 'mine', sid: 'x', iat: 1 }), {
      get(identity, field) {
        reads++
        return Reflect.get(identity, field)
      },
    })
    expect(refusalOf(other, counted)).toBe(undefined)
    return reads
  }
  await hub.revoke(backend, { jti: 'first' })
  const few = looks(hub)
  const total = 100_000
  const bystander = attach(identityOf('7', { jti: 'mine' }))
  for (let from = 0; from < total; from += 1000) {
    const jtis = Array.from({ length: 1000 }, (_, index) => `logout-${from + index}`)
    await hub.carryOut(
      backend,
      jtis.map((jti) => ({ kind: 'revoke', request: { jti } })),
    )
  }
  expect(looks(hub)).toBe(few)
  expect(bystander.ended).toBe(undefined)
  expect(refusalOf(hub, identityOf('8', { jti: `logout-${total - 1}` }))).toBe('token_revoked')
  // By pages, each once.
  const seen = new Set<string>()
  for (let after = 0, more = true; more; ) {
    const page = hub.inquiries.revocations(backend, after, 1000)
    for (const { position, entry } of page.revocations) {
      seen.add(entry.revocation.id)
      after = position
    }
    more = page.more
  }
  expect(seen.size).toBe(total + 1)
  // All of them are there again after a restart.
  await log.close()
  const again = await openHub(directory)
  expect(looks(again.hub)).toBe(few)
  expect(refusalOf(again.hub, identityOf('8', { jti: 'logout-0' }))).toBe('token_revoked')
  expect(again.hub.inquiries.revocations(backend, 0, 1).more).toBe(true)
})
