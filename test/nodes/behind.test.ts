import { afterAll, expect, test } from 'vitest'
import { apiKey, login, startTestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { startRedis } from '../support/redis.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

const redis = await startRedis()
afterAll(() => redis.close())

const apart = (): Readonly<Record<string, string>> => ({ REDIS_URL: redis.url, REDIS_PREFIX: `test-${crypto.randomUUID()}` })

/** As a balancer would: the same client, with what it remembers, arrives at another node. */
function moveTo({ socket, cut }: TestSession, url: string): void {
  Object.assign(socket.io, { uri: url })
  cut()
}

test('a node that is cut off from Redis sends nobody back behind what another node has shown', async () => {
  const settings = apart()
  await using way = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
  await using ahead = await startTestBridge(settings)
  await using behind = await startTestBridge({ ...settings, REDIS_URL: `redis://127.0.0.1:${way.port}` })
  await using session = connectSession(ahead.publicUrl, { token: login('7') })
  await session.notice('sidecast:ready')
  const publish = (event: string) => ahead.publish({ event, to: { users: ['7'] } })
  await publish('before')
  await session.event(1)

  way.blackHole()
  await publish('meanwhile')
  await session.event(2)
  moveTo(session, behind.publicUrl)
  // It may not say that something is lost, and cannot say what there is: the client is to try again.
  const refused = 'sidecast_handshakes_refused_total{code="unavailable"}'
  while (!(await (await fetch(`${behind.privateUrl}/metrics`)).text()).includes(refused));
  expect(session.notices.length).toBe(1)
  await publish('during')
  way.restore()
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true } })
  await publish('after')
  await session.event(4)
  expect(session.received.map(({ event }) => event)).toEqual(['before', 'meanwhile', 'during', 'after'])
})

test('what was trimmed while a node got nothing is a gap for its sessions, and for those who come to it', async () => {
  // Each entry a node of its own, so that all that may go goes.
  await using own = await startRedis({ config: { appendonly: 'no', 'stream-node-max-entries': '1' } })
  await using way = await startTcpProxy({ host: '127.0.0.1', port: own.port })
  await using ahead = await startTestBridge({ REDIS_URL: own.url, RETENTION_EVENTS: '5' })
  await using behind = await startTestBridge({ REDIS_URL: `redis://127.0.0.1:${way.port}` })
  const token = login('7')
  await using staying = connectSession(behind.publicUrl, { token })
  await using away = connectSession(ahead.publicUrl, { token })
  for (const session of [staying, away]) await session.notice('sidecast:ready')
  const publish = (data: unknown) => ahead.publish({ event: 'numbered', data, to: { users: ['7'] } })
  await publish('before')
  for (const session of [staying, away]) await session.event(1)
  // It stays away until there is something for it to come back to.
  away.socket.io.reconnection(false)
  away.cut()
  await away.closed()

  way.hold()
  // The answer to what it asks now: no more comes until it has it.
  await publish('late')
  const events = Array.from({ length: 200 }, () => ({ event: 'missed', to: { users: ['7'] } }))
  expect(await ahead.call('POST', '/v1/events/batch', { events })).toMatchObject({ status: 202 })
  while (Number(await own.command('XLEN', '{sidecast}:log')) > 1);
  await publish('behind')
  way.restore()
  expect(await staying.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: false, reason: 'gap' } })
  Object.assign(away.socket.io, { uri: behind.publicUrl })
  away.socket.connect()
  expect(await away.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: false, reason: 'gap' } })
  await publish('after')
  for (const { until, received } of [staying, away]) {
    await until(() => received.some(({ data }) => data === 'after'))
    expect(received.map(({ data }) => data).filter((data) => data !== 'late')).toEqual(['before', 'after'])
  }
})

test('a link that takes everything and lets nothing come back is noticed, and says for how long', async () => {
  const settings = apart()
  await using way = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
  await using bridge = await startTestBridge({ ...settings, REDIS_URL: `redis://127.0.0.1:${way.port}` })
  const readiness = async () => Object(await (await fetch(`${bridge.privateUrl}/readyz?exclude=event_loop`)).json())
  const canaries = async () => Number(await redis.command('XLEN', `{${settings.REDIS_PREFIX}}:canary`))
  const canaryAgeSeconds = async (): Promise<number> =>
    Number(/^sidecast_log_canary_age_seconds (\S+)$/m.exec(await (await fetch(`${bridge.privateUrl}/metrics`)).text())?.[1])
  expect(await readiness()).toMatchObject({ status: 'ok' })

  // The second connection is the one that follows. The first goes on, and so does what nodes say to each other.
  way.mute((connection) => connection === 1 || connection > 3)
  const sent = await canaries()
  let found = await readiness()
  while (found.status === 'ok') found = await readiness()
  expect(found).toMatchObject({ failing: [{ name: 'log', failure: expect.stringMatching(/has not answered|has come back/) }] })
  expect(await canaries()).toBeGreaterThan(sent)
  // It is promised that it takes 10 s at most: far above that.
  const noticedAt = await canaryAgeSeconds()
  expect(noticedAt).toBeLessThan(30)
  // One after the other, so that they would outlast the test if each waited for Redis.
  for (let count = 0; count < 200; count++) {
    const answer = await bridge.call('POST', '/v1/events', { event: 'refused', to: { users: ['7'] } })
    expect(answer).toMatchObject({ status: 503, body: { code: 'log_unavailable' } })
  }
  // All the time it was the same silence.
  expect(await canaryAgeSeconds()).toBeGreaterThan(noticedAt)

  way.restore()
  while ((await readiness()).status !== 'ok');
  await bridge.publish({ event: 'taken', to: { users: ['7'] } })
})

test('while Redis is away clients stay connected, come back and are new, and all get what comes afterwards, in order', async () => {
  await using own = await startRedis({ config: { appendfsync: 'always' } })
  await using one = await startTestBridge({ REDIS_URL: own.url })
  await using other = await startTestBridge({ REDIS_URL: own.url })
  const token = login('7', { rooms: ['team', 'page:*'] })
  await using staying = connectSession(one.publicUrl, { token })
  await using moving = connectSession(one.publicUrl, { token })
  for (const session of [staying, moving]) await session.notice('sidecast:ready')
  await one.publish({ event: 'before', to: { rooms: ['team'] } })
  for (const session of [staying, moving]) await session.event(1)

  await own.kill()
  const refused = await fetch(`${one.privateUrl}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ event: 'refused', to: { rooms: ['team'] } }),
  })
  expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([503, expect.any(Number)])
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  // One after the other, so that they would outlast the test if each waited for Redis.
  for (let count = 0; count < 200; count++) {
    const response = await fetch(`${one.privateUrl}/readyz`)
    expect([response.status, await response.text()]).toEqual([503, expect.stringMatching(/cannot be reached/)])
    const answer = await one.call('POST', '/v1/events', { event: 'refused', to: { rooms: ['team'] } })
    expect(answer).toMatchObject({ status: 503, body: { code: 'log_unavailable' } })
  }

  // Whoever is new begins at what the node has read; who comes back goes on there, also at another node; what has to be written is refused.
  await using fresh = connectSession(one.publicUrl, { token })
  expect(await fresh.notice('sidecast:ready')).toMatchObject({ data: { recovered: false, rooms: expect.arrayContaining(['team']) } })
  moveTo(moving, other.publicUrl)
  expect(await moving.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true } })
  expect(await fresh.request('sidecast:join', { room: 'page:1' })).toMatchObject({ ok: false, error: { code: 'unavailable' } })

  await own.start()
  const numbers = Array.from({ length: 20 }, (_, index) => index)
  for (const data of numbers) {
    while (
      (await (data % 2 ? one : other).call('POST', '/v1/events', { id: `n${data}`, event: 'numbered', data, to: { rooms: ['team'] } })).status !== 202
    );
  }
  for (const [session, first] of [
    [staying, ['before']],
    [moving, ['before']],
    [fresh, []],
  ] as const) {
    await session.until(() => session.received.length >= first.length + numbers.length)
    expect(session.received.map(({ event, data }) => (event === 'numbered' ? data : event))).toEqual([...first, ...numbers])
  }
  expect(staying.notices.filter(({ event }) => event === 'sidecast:ready').length).toBe(1)
})
