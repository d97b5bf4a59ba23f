import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { get } from 'node:http'
import { text } from 'node:stream/consumers'
import supertest from 'supertest'
import { expect, test } from 'vitest'
import { startIngress } from './start-ingress.ts'

test('health is told without a key, with what fails by name', async () => {
  await using ingress = await startIngress({
    liveness: () => [{ name: 'loop' }],
    readiness: () => [{ name: 'log' }, { name: 'consumer', failure: 'not attached' }],
    startup: () => [],
  })
  const get = async (path: string) => {
    const response = await fetch(`${ingress.url}${path}`)
    return { status: response.status, retryAfter: response.headers.get('retry-after'), body: await response.json() }
  }
  expect(await get('/livez')).toEqual({ status: 200, retryAfter: null, body: { status: 'ok', checks: ['loop'] } })
  expect(await get('/readyz')).toEqual({
    status: 503,
    retryAfter: '2',
    body: { status: 'failing', failing: [{ name: 'consumer', failure: 'not attached' }] },
  })
  expect(await get('/startupz')).toEqual({ status: 200, retryAfter: null, body: { status: 'ok', checks: [] } })
})

test('whoever asks for readiness may leave out checks by name', async () => {
  await using ingress = await startIngress({
    readiness: () => [{ name: 'started' }, { name: 'log', failure: 'away' }, { name: 'consumer', failure: 'not attached' }],
  })
  const get = async (query: string) => {
    const response = await fetch(`${ingress.url}/readyz${query}`)
    return { status: response.status, body: await response.json() }
  }
  const failing = [
    { name: 'log', failure: 'away' },
    { name: 'consumer', failure: 'not attached' },
  ]
  expect(await get('')).toEqual({ status: 503, body: { status: 'failing', failing } })
  expect(await get('?exclude=log')).toEqual({ status: 503, body: { status: 'failing', failing: failing.slice(1) } })
  expect(await get('?exclude=log&exclude=consumer&exclude=unknown')).toEqual({ status: 200, body: { status: 'ok', checks: ['started'] } })
})

test('a node that drains takes nothing new and goes on answering questions', async () => {
  await using ingress = await startIngress()
  ingress.drain()
  for (const [method, path, body] of [
    ['POST', '/v1/events', { event: 'a', to: { all: true } }],
    ['POST', '/v1/events/batch', { events: [1] }],
    ['PUT', '/v1/rooms/r/users/7', undefined],
    ['DELETE', '/v1/sessions/s', undefined],
    ['POST', '/v1/users/7/disconnect', undefined],
  ] as const) {
    const { status, headers, json } = await ingress.call(method, path, { body })
    expect([path, status, json.code]).toEqual([path, 503, 'draining'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  }
  for (const path of ['/livez', '/readyz', '/metrics', '/v1/users/7', '/v1/rooms/r', '/v1/users/7/events', '/docs']) {
    expect([path, (await ingress.call('GET', path)).status]).toEqual([path, 200])
  }
})

test('the metrics count by code and route, never by user, room or event', async () => {
  await using ingress = await startIngress()
  ingress.attach('secretuser')
  await ingress.call('POST', '/v1/events', { body: { event: 'secretevent', to: { users: ['secretuser'] } } })
  await ingress.call('POST', '/v1/events', { body: { event: '1', to: { users: ['secretuser'] } } })
  await ingress.call('POST', '/v1/events/batch', { body: { events: [{ event: 'secretevent', to: { rooms: ['secretroom'] } }, 1] } })
  await ingress.call('GET', '/v1/users/secretuser')
  await ingress.call('GET', '/secretpath')
  const { text, headers } = await ingress.call('GET', '/metrics')
  expect(headers.get('content-type')).toContain('text/plain')
  for (const line of [
    'sidecast_sessions 1',
    'sidecast_events_published_total 2',
    'sidecast_publish_refused_total{code="invalid_event"} 2',
    'sidecast_http_requests_total{method="POST",route="/v1/events",status="202"} 1',
    'sidecast_http_requests_total{method="POST",route="/v1/events",status="422"} 1',
    'sidecast_http_requests_total{method="GET",route="/v1/users/{user}",status="200"} 1',
    'sidecast_http_requests_total{method="GET",route="unknown",status="404"} 1',
    'sidecast_http_request_duration_seconds_count{route="/v1/events"} 2',
  ])
    expect(text).toContain(`${line}\n`)
  for (const name of ['process_cpu_seconds_total', 'nodejs_eventloop_lag_p99_seconds']) expect(text).toContain(name)
  expect(text).not.toMatch(/secret/)
})

test('the API page needs nothing from elsewhere and no script', async () => {
  await using ingress = await startIngress()
  const response = await fetch(`${ingress.url}/docs`)
  const page = await response.text()
  expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
  expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-[\w+/]+='/)
  expect(page).not.toMatch(/<script|<link|<img|src=|@import|url\(/)
  expect(page).toContain('width=device-width')
  for (const part of ['/v1/events/batch', `curl -X POST ${ingress.url}/v1/events`, 'Idempotency-Key', 'id="schema-EventDraft"'])
    expect(page).toContain(part)
  const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id)
  for (const id of new Set(targets)) expect(page).toContain(`id="${id}"`)
})

test('the commands of the API page name the address that the reader has typed, if it can stand in a command', async () => {
  await using ingress = await startIngress()
  const commandsFor = async (host: string): Promise<string> => {
    const [response] = await once(get(`${ingress.url}/docs`, { headers: { host } }), 'response')
    return await text(response)
  }
  expect(await commandsFor('push.internal:4001')).toContain('curl -X POST http://push.internal:4001/v1/events')
  expect(await commandsFor('[::1]:4001')).toContain('curl -X POST http://[::1]:4001/v1/events')
  for (const host of ['a$(reboot)', 'a;reboot', 'a b']) {
    const page = await commandsFor(host)
    expect(page).toContain('curl -X POST http://127.0.0.1:3001/v1/events')
    expect(page).not.toContain('reboot')
  }
})

test('openapi.yaml is served as it is', async () => {
  await using ingress = await startIngress()
  const response = await fetch(`${ingress.url}/openapi.yaml`)
  expect(response.headers.get('content-type')).toContain('application/yaml')
  expect(await response.text()).toMatch(/^openapi: 3\.1/)
})

test('every answer carries the headers that keep browsers from guessing', async () => {
  await using ingress = await startIngress()
  for (const path of ['/livez', '/v1/events', '/nowhere', '/docs']) {
    const { headers } = await supertest(ingress.url)
      .get(path)
      .expect('X-Content-Type-Options', 'nosniff')
      .expect('Content-Security-Policy', /default-src 'none'/)
    expect(headers).not.toHaveProperty('x-powered-by')
  }
})

test('what goes wrong inside is reported to the operator, not to the caller', async () => {
  const failures: unknown[] = []
  const secret = new Error('connect to redis://user:hunter2@db failed')
  await using ingress = await startIngress({
    metrics: { contentType: 'text/plain', render: () => Promise.reject(secret), requestServed: () => {} },
    onFailure: (error) => void failures.push(error),
  })
  const { status, text, json } = await ingress.call('GET', '/metrics')
  expect({ status, code: json.code, failures }).toEqual({ status: 500, code: 'internal', failures: [secret] })
  expect(text).not.toMatch(/hunter2|redis|Error/)
})

test('every metric of ours is described in the documentation, and the other way round', async () => {
  await using ingress = await startIngress()
  const documentation = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')
  const described = [...documentation.matchAll(/^\| `(sidecast_\w+)`/gm)].map(([, name]) => name)
  const { text } = await ingress.call('GET', '/metrics')
  const exported = [...text.matchAll(/^# TYPE (sidecast_\w+) /gm)].map(([, name]) => name)
  expect(exported.sort()).toEqual(described.sort())
})
