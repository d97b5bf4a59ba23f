import { expect, test } from 'vitest'
import { head, startIngress } from './start-ingress.ts'

test('a path that a proxy may read otherwise is refused', async () => {
  await using ingress = await startIngress()
  for (const path of [
    '/v1/users/a%2Fb',
    '/v1/users/a%2fevents',
    '/v1/rooms/a%5Cb',
    '/v1/rooms/a%00',
    '/v1%2Fusers/7',
    '/livez%00',
    '/v1/users/%E0%A4%A',
    '/v1/users/%',
    '/v1/users/%zz',
    '/v1/users/%FF',
  ]) {
    const raw = await ingress.raw()
    raw.socket.write(head('GET', path))
    expect([path, (await raw.until(/\}$/)).match(/^HTTP\/1\.1 400 .*"code":"(\w+)"/s)?.[1]]).toEqual([path, 'invalid_request'])
    raw.socket.destroy()
  }
})

test('a name with a percent sign comes encoded once', async () => {
  await using ingress = await startIngress()
  for (const name of ['%2F', '100%', '%00', 'a b', 'é', '😀', 'a?b#c', ':', '+', '"<>']) {
    ingress.attach(name)
    const { json } = await ingress.call('GET', `/v1/users/${encodeURIComponent(name)}`)
    expect(json).toMatchObject({ user: name, online: true })
  }
})

test('an address that is not there is refused, also when it is nearly there', async () => {
  await using ingress = await startIngress()
  for (const path of [
    '/',
    '/v1',
    '/v1/',
    '/v2/events',
    '/v1/events/',
    '/V1/events',
    '/v1//events',
    '/v1/users/',
    '/v1/users/7/',
    '/livez/',
    '/v1/users/7/events/8',
    '/.env',
    '//v1/events',
  ]) {
    const raw = await ingress.raw()
    raw.socket.write(head('GET', path))
    const answer = await raw.until(/\}$/)
    expect([path, answer.slice(0, 12)]).toEqual([path, 'HTTP/1.1 404'])
    expect(answer).toContain('application/problem+json')
    raw.socket.destroy()
  }
})

test('a wrong method is refused with those that are right', async () => {
  await using ingress = await startIngress()
  for (const [method, path, allow] of [
    ['GET', '/v1/events', 'POST'],
    ['PUT', '/v1/events/batch', 'POST'],
    ['POST', '/v1/users/7', 'GET, HEAD'],
    ['GET', '/v1/users/7/disconnect', 'POST'],
    ['GET', '/v1/rooms/r/users/7', 'PUT, DELETE'],
    ['GET', '/v1/sessions/s', 'DELETE'],
    ['POST', '/livez', 'GET, HEAD'],
    ['OPTIONS', '/v1/events', 'POST'],
    ['PATCH', '/docs', 'GET, HEAD'],
  ] as const) {
    const { status, headers, json } = await ingress.call(method, path)
    expect([method, path, status, headers.get('allow'), json.code]).toEqual([method, path, 405, allow, 'method_not_allowed'])
  }
})

test('an address with scheme and host is the same address', async () => {
  await using ingress = await startIngress()
  for (const [target, status] of [
    ['http://ingress/v1/users/7/events?limit=1', 200],
    ['HTTP://elsewhere:80/livez', 200],
    ['http://ingress/v1/users/a%2Fb', 400],
    ['http://ingress/', 404],
    ['ftp://ingress/v1/users/7', 200],
    ['*', 404],
  ] as const) {
    const raw = await ingress.raw()
    raw.socket.write(head('GET', target))
    expect([target, (await raw.until(/\}$/)).slice(0, 12)]).toEqual([target, `HTTP/1.1 ${status}`])
    raw.socket.destroy()
  }
})
