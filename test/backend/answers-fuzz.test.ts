import { once } from 'node:events'
import { createServer } from 'node:http'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { toIdentity } from '../../src/auth/claims.ts'
import { createIntrospectedReader } from '../../src/auth/introspected.ts'
import { createBackend } from '../../src/backend/backend.ts'
import { isName } from '../../src/core/name.ts'
import { Session } from '../../src/core/session.ts'
import { BridgeError } from '../../src/errors.ts'
import { MemoryConnection } from '../support/memory-connection.ts'

/** What a broken, strange or hostile application may answer with. */
const moment = fc.oneof(fc.constantFrom(null, '2100-01-01T00:00:00Z', 4e9, 1e9, 4e12), fc.integer(), fc.double(), fc.date().map(String), fc.string())
const list = fc.oneof(
  fc.constantFrom(['news'], ['news', 'order:*'], [], null),

  fc.array(fc.oneof(fc.string(), fc.constantFrom('news', 'order:*', 'a**', '', '*'), fc.integer(), fc.jsonValue())),
  fc.jsonValue(),
)
const user = fc.oneof(fc.string(), fc.integer(), fc.constantFrom('42', 42, '', null, 2 ** 60, '\u202e'), fc.jsonValue())
const good = { allowed: true, active: true, user: '42', sub: '42' }
const odd = fc.record({
  allowed: fc.oneof(fc.boolean(), fc.jsonValue()),
  active: fc.oneof(fc.boolean(), fc.jsonValue()),
  user,
  sub: user,
  rooms: list,
  expiresAt: moment,
  issuedAt: moment,
  exp: moment,
  jti: fc.jsonValue(),
  sid: fc.jsonValue(),
})
/** A good answer in which up to three fields are something else, or gone. */
const said = fc
  .tuple(odd, fc.subarray(Object.keys({ ...good, rooms: 0, expiresAt: 0, issuedAt: 0, exp: 0, jti: 0, sid: 0 }), { maxLength: 3 }), fc.boolean())
  .map(([values, fields, gone]) => {
    const changed = Object.entries(values).filter(([field]) => fields.includes(field))
    return { ...good, ...Object.fromEntries(changed.map(([field, value]) => [field, gone ? undefined : value])) }
  })
const answer = fc.record({
  status: fc.oneof({ weight: 4, arbitrary: fc.constant(200) }, { weight: 1, arbitrary: fc.integer({ min: 200, max: 599 }) }),
  type: fc.constantFrom('application/json', 'application/json', 'application/json; charset=utf-8', 'text/html', ''),
  body: fc.oneof(
    { weight: 6, arbitrary: said.map((value) => Buffer.from(JSON.stringify(value))) },
    { weight: 1, arbitrary: fc.json().map((text) => Buffer.from(text)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  ),
})

test('whatever the application answers, it is a yes that was said, or one of the refusals', async () => {
  let current: { readonly status: number; readonly type: string; readonly body: Buffer } = { status: 500, type: '', body: Buffer.of() }
  const server = createServer((request, response) => {
    request.resume()
    const bodyless = current.status === 204 || current.status === 304 || current.status === 205
    response.writeHead(current.status, current.type === '' ? {} : { 'content-type': current.type }).end(bodyless ? undefined : current.body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${Object(server.address()).port}/`
  const claims = { userClaims: ['sub'], roomsClaim: 'rooms', roomTemplates: [], clockToleranceMs: 0 }
  const lists = { issuers: [], audiences: [], authorizedParties: [], types: [], requiredClaims: [] }
  const backend = createBackend({
    connectUrl: url,
    roomsUrl: url,
    introspection: { url, clientId: 'a', clientSecret: 'b' },
    timeoutMs: 5000,
    cacheMs: 0,
    forward: [],
    readConnected: (said) => toIdentity(said, claims),
    readIntrospected: createIntrospectedReader({
      expected: { ...claims, ...lists, name: 'login', requireExp: true, numericStringDates: false },
      reservedAudiences: [],
      now: Date.now,
    }),
    observer: { asked: () => undefined, answeredFromCache: () => undefined },
    journal: { answered: () => undefined, failed: () => undefined, doubted: () => undefined },
    newId: () => 'id',
    now: Date.now,
  })
  const session = new Session('session', { user: '42', rooms: [], grants: [] }, new MemoryConnection(1, () => undefined), 0)
  /** What came of it: a value, or the code of the refusal. */
  const outcome = (promise: Promise<unknown> | undefined) =>
    promise?.catch((error: unknown) => {
      if (!(error instanceof BridgeError)) throw error
      return error.code
    })
  let yes = 0
  try {
    await fc.assert(
      fc.asyncProperty(answer, async (given) => {
        current = given
        const usable = given.status === 200 && given.type.startsWith('application/json')
        const room = await outcome(backend.rooms?.authorize(session, 'order:7'))
        const login = await outcome(backend.connect?.login({ token: 'opaque', forwarded: {}, address: '' }))
        const introspected = await outcome(backend.introspection?.login('opaque'))
        const body = (): Record<string, unknown> => JSON.parse(given.body.toString())
        if (typeof room === 'object') expect([usable, body().allowed]).toEqual([true, true])
        else expect(['room_forbidden', 'unavailable']).toContain(room)
        for (const who of [login, introspected]) {
          if (typeof who === 'object') {
            yes++
            expect(usable).toBe(true)
            expect(who).toMatchObject({ user: expect.toSatisfy(isName) })
          } else expect(['token_signature', 'token_claims', 'token_expired', 'unavailable']).toContain(who)
        }
        if (typeof introspected === 'object') expect(body().active).toBe(true)
      }),
      { numRuns: 1500 },
    )
  } finally {
    backend.close()
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  // Else it would only have seen refusals.
  expect(yes).toBeGreaterThan(50)
})
