import { expect, test } from 'vitest'
import { type Ingress, startIngress } from './start-ingress.ts'

const publish = (ingress: Ingress, data: unknown, to: object, more: object = {}) =>
  ingress.call('POST', '/v1/events', { body: { event: 'n', data, to, ...more } })

interface Page {
  readonly events: readonly { readonly data: unknown; readonly offset: string }[]
  readonly next: string
}

test('a user is shown with its sessions', async () => {
  await using ingress = await startIngress()
  const session = ingress.attach('42', ['lobby'])
  const { json, headers } = await ingress.call('GET', '/v1/users/42')
  expect(json).toEqual({
    user: '42',
    online: true,
    sessions: [{ session, connectedAt: expect.any(Number), transport: 'websocket', rooms: ['lobby'], expiresAt: null }],
  })
  expect(headers.get('sidecast-online')).toBe('true')
  const offline = await ingress.call('GET', '/v1/users/7')
  expect(offline.json).toEqual({ user: '7', online: false, sessions: [] })
  expect(offline.headers.get('sidecast-online')).toBe('false')
})

test('HEAD says whether a user is online, and is like GET without the content', async () => {
  await using ingress = await startIngress()
  ingress.attach('42')
  for (const [user, online] of [
    ['42', 'true'],
    ['7', 'false'],
  ] as const) {
    const { status, headers, text } = await ingress.call('HEAD', `/v1/users/${user}`)
    const like = await ingress.call('GET', `/v1/users/${user}`)
    expect({ status, online: headers.get('sidecast-online'), text }).toEqual({ status: 200, online, text: '' })
    expect(headers.get('content-length')).toBe(like.headers.get('content-length'))
  }
  for (const path of ['/v1/rooms/r', '/v1/users/7/events', '/livez', '/docs']) expect((await ingress.call('HEAD', path)).status).toBe(200)
})

test('a room is shown with who is in it', async () => {
  await using ingress = await startIngress()
  ingress.attach('42', ['lobby'])
  ingress.attach('42', ['lobby'])
  ingress.attach('7', ['lobby', 'other'])
  expect((await ingress.call('GET', '/v1/rooms/lobby')).json).toEqual({ room: 'lobby', sessions: 3, users: ['42', '7'] })
  expect((await ingress.call('GET', '/v1/rooms/empty')).json).toEqual({ room: 'empty', sessions: 0, users: [] })
})

test('a membership is in force when it is answered', async () => {
  await using ingress = await startIngress()
  ingress.attach('42')
  const put = await ingress.call('PUT', '/v1/rooms/team%3A1/users/42')
  expect({ status: put.status, json: put.json }).toEqual({ status: 202, json: { offset: ingress.log.offsetOf(1) } })
  expect((await publish(ingress, 1, { rooms: ['team:1'] })).json.matched).toBe(1)
  ingress.attach('42')
  expect((await publish(ingress, 1, { rooms: ['team:1'] })).json.matched).toBe(2)
  expect((await ingress.call('DELETE', '/v1/rooms/team%3A1/users/42')).status).toBe(202)
  expect((await publish(ingress, 1, { rooms: ['team:1'] })).json.matched).toBe(0)
})

test('sessions and users are ended, whether they are known here or not', async () => {
  await using ingress = await startIngress()
  const session = ingress.attach('42')
  for (const [method, path] of [
    ['DELETE', `/v1/sessions/${session}`],
    ['DELETE', '/v1/sessions/unknown'],
    ['POST', '/v1/users/42/disconnect'],
    ['POST', '/v1/users/unknown/disconnect'],
  ] as const) {
    const { status, json } = await ingress.call(method, path)
    expect([path, status]).toEqual([path, 202])
    expect(json.offset).toBe(ingress.log.offsetOf(ingress.log.head()))
  }
})

test('what is kept is read page by page, in order', async () => {
  await using ingress = await startIngress()
  for (let n = 1; n <= 5; n++) {
    await publish(ingress, n, { users: [1], rooms: ['r'] })
    await publish(ingress, 'other', { users: [2] })
  }
  await publish(ingress, 'gone', { users: [1] }, { volatile: true })
  for (const path of ['/v1/users/1/events', '/v1/rooms/r/events']) {
    const read: unknown[] = []
    let page = (await ingress.call('GET', `${path}?limit=2`)).json as unknown as Page
    while (page.events.length > 0) {
      read.push(...page.events.map(({ data }) => data))
      page = (await ingress.call('GET', `${path}?limit=2&after=${page.next}`)).json as unknown as Page
    }
    expect(read).toEqual([1, 2, 3, 4, 5])
    await publish(ingress, 6, { users: [1], rooms: ['r'] })
    const more = await ingress.call('GET', `${path}?after=${page.next}`)
    expect(more.json.events).toMatchObject([{ data: 6 }])
    await ingress.call('GET', `${path}?after=${(more.json as unknown as Page).next}`)
    break
  }
})

test('a page has at most 100 events unless a limit says otherwise', async () => {
  await using ingress = await startIngress()
  await ingress.call('POST', '/v1/events/batch', { body: { events: Array.from({ length: 150 }, () => ({ event: 'n', to: { users: [1] } })) } })
  expect((await ingress.call('GET', '/v1/users/1/events')).json.events).toHaveLength(100)
  expect((await ingress.call('GET', '/v1/users/1/events?limit=1000')).json.events).toHaveLength(150)
})

test('an offset that cannot be answered for is a gap, never a guess', async () => {
  await using ingress = await startIngress()
  await publish(ingress, 1, { users: [1] })
  const [run = ''] = ingress.log.offsetOf(1).split('-')
  for (const after of ['another-1', `${run}-2`, `${run}-01`, `${ingress.log.epoch}-1`, run, 'x']) {
    const { status, json } = await ingress.call('GET', `/v1/users/1/events?after=${after}`)
    expect([after, status, json.code]).toEqual([after, 410, 'gap'])
  }
})
