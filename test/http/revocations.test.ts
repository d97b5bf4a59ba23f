import { expect, test } from 'vitest'
import { type Ingress, keyOf, startIngress } from './start-ingress.ts'

const noMoment = 'must be seconds or milliseconds since 1970, or a time as RFC 3339 writes it'

const cases: readonly (readonly [what: string, body: unknown, pointer: string, detail: string])[] = [
  ['an array', [], '', 'must be an object'],
  ['a word', '"42"', '', 'must be an object'],
  ['nothing', {}, '', 'names no tokens: give user, jti, sid or issuedBefore'],
  ['nothing but its own end', { expiresAt: 4e9 }, '', 'names no tokens'],
  ['an unknown field', { user: 7, all: true }, '/all', 'is not a known field'],
  ['a list of users', { users: [7] }, '/users', 'is not a known field'],
  ['a user that is null', { user: null }, '/user', 'must be a string or an integer'],
  ['a user without a name', { user: '' }, '/user', 'must be 1 to 200 characters'],
  ['a user with an invisible character', { user: 'a\u200bb' }, '/user', 'must be 1 to 200 characters'],
  ['a user with a fraction', { user: 1.5 }, '/user', 'must be a string or an integer'],
  ['a user that has lost digits', '{"user":9007199254740993}', '/user', '2^53'],
  ['an empty jti', { jti: '' }, '/jti', 'must be 1 to 1000 characters'],
  ['a long jti', { jti: 'x'.repeat(1001) }, '/jti', 'must be 1 to 1000 characters'],
  ['a jti that has lost digits', '{"jti":12345678901234567890}', '/jti', '2^53'],
  ['a sid that is a list', { sid: ['a'] }, '/sid', 'must be a string or an integer'],
  ['a time that is a word', { issuedBefore: 'now' }, '/issuedBefore', noMoment],
  ['a number as text', { issuedBefore: '1795424912' }, '/issuedBefore', noMoment],
  ['a time without a zone', { issuedBefore: '2026-11-23T10:00:00' }, '/issuedBefore', noMoment],
  ['a day without a time', { issuedBefore: '2026-11-23' }, '/issuedBefore', noMoment],
  ['the 30th of February', { issuedBefore: '2026-02-30T10:00:00Z' }, '/issuedBefore', noMoment],
  ['an hour that there is not', { issuedBefore: '2026-02-20T25:00:00Z' }, '/issuedBefore', noMoment],
  ['a time before 1970', { issuedBefore: -1 }, '/issuedBefore', noMoment],
  ['a text before 1970', { issuedBefore: '1969-12-31T23:59:59Z' }, '/issuedBefore', noMoment],
  ['the year 10000', { issuedBefore: 253_402_300_800_000 }, '/issuedBefore', noMoment],
  ['more than a number can hold', '{"issuedBefore":1e400}', '/issuedBefore', 'must be a number or a string'],
  ['null as a time', { user: 7, expiresAt: null }, '/expiresAt', 'must be a number or a string'],
  ['an end that is over', { user: 7, expiresAt: 1_700_000_000 }, '/expiresAt', 'is over already'],
]

test('what is wrong with a revocation is told by field, in plain words, and nothing is revoked', async () => {
  await using ingress = await startIngress()
  for (const [what, body, pointer, detail] of cases) {
    const headers = { 'content-type': 'application/json' }
    const { status, json } = await ingress.call('POST', '/v1/revocations', { body, headers })
    expect({ what, status, errors: json.errors }).toMatchObject({ what, status: 422, errors: [{ pointer, detail: expect.stringContaining(detail) }] })
    expect(json).toMatchObject({ type: 'urn:sidecast:error:invalid_revocation', code: 'invalid_revocation' })
  }
  const several = await ingress.call('POST', '/v1/revocations', { body: { user: null, jti: '', more: 1 } })
  expect(several.json.errors).toHaveLength(3)
  expect(ingress.log.head()).toBe(0)
})

test('times are seconds, milliseconds or RFC 3339; a fraction counts for the stricter side', async () => {
  await using ingress = await startIngress()
  const at = Date.parse('2026-11-23T10:00:00Z')
  for (const [moment, expected] of [
    [at / 1000, at],
    [at, at],
    ['2026-11-23T10:00:00Z', at],
    ['2026-11-23t10:00:00z', at],
    ['2026-11-23 11:00:00.000+01:00', at],
    ['2026-11-23T10:00:00.25Z', at + 250],
    [at / 1000 + 0.0001, at + 1],
    [1e11, 1e14],
    [1e11 + 1, 1e11 + 1],
    [0, 0],
    ['2024-02-29T00:00:00Z', Date.parse('2024-02-29T00:00:00Z')],
  ] as const) {
    const { id, ...answer } = await revoke(ingress, { user: `${moment}`, issuedBefore: moment })
    expect({ moment, answer }).toMatchObject({ moment, answer: { sessions: 0 } })
    expect(await find(ingress, id)).toMatchObject({ issuedBefore: expected })
  }
})

test('an integer is the user, the jti and the sid of its decimal text, and the id goes by these', async () => {
  await using ingress = await startIngress()
  const number = await revoke(ingress, { user: 7, jti: 8, sid: 9 })
  const text = await revoke(ingress, { sid: '9', jti: '8', user: '7' })
  expect(text.id).toBe(number.id)
  expect(await find(ingress, number.id)).toMatchObject({ user: '7', jti: '8', sid: '9' })
  const others = [{ user: 7 }, { jti: 7 }, { sid: 7 }, { user: 7, jti: 8 }, { user: 7, sid: 8 }, { jti: 7, sid: 8 }, { issuedBefore: 7 }]
  const ids = await Promise.all(others.map(async (body) => (await revoke(ingress, body)).id))
  expect(new Set([...ids, number.id]).size).toBe(8)
  for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]{16}$/)
})

test('a user alone is all of its logins until the end of this second; a token or a login is all of it', async () => {
  await using ingress = await startIngress()
  const before = Date.now()
  const { id } = await revoke(ingress, { user: 7 })
  const { issuedBefore = 0, revokedAt = 0 } = (await find(ingress, id)) ?? {}
  expect(issuedBefore % 1000).toBe(0)
  expect(issuedBefore).toBeGreaterThan(before)
  expect(issuedBefore - revokedAt).toBeLessThanOrEqual(1000)
  for (const body of [{ jti: 'a' }, { sid: 'b' }, { user: 7, jti: 'a' }])
    expect(await find(ingress, (await revoke(ingress, body)).id)).not.toHaveProperty('issuedBefore')
})

test('a revocation that takes the place of another never refuses less', async () => {
  await using ingress = await startIngress()
  const first = await revoke(ingress, { user: 7, issuedBefore: 2000, expiresAt: 4e9 })
  expect(first.expiresAt).toBe(4e12)
  expect(await revoke(ingress, { user: 7, issuedBefore: 1000, expiresAt: 3e9 })).toMatchObject({ id: first.id, expiresAt: 4e12 })
  expect(await find(ingress, first.id)).toMatchObject({ issuedBefore: 2_000_000, expiresAt: 4e12 })
  await revoke(ingress, { user: 7, issuedBefore: 3000, expiresAt: 5e9 })
  expect(await find(ingress, first.id)).toMatchObject({ issuedBefore: 3_000_000, expiresAt: 5e12 })
  // All of its tokens stay all of them.
  const { id } = await revoke(ingress, { jti: 'a' })
  await revoke(ingress, { jti: 'a', issuedBefore: 1000 })
  expect(await find(ingress, id)).not.toHaveProperty('issuedBefore')
  await revoke(ingress, { jti: 'b', issuedBefore: 1000 })
  const widened = await revoke(ingress, { jti: 'b' })
  expect(await find(ingress, widened.id)).not.toHaveProperty('issuedBefore')
  expect(await list(ingress)).toHaveLength(3)
})

test('without an end of its own it is kept as long as a token may live, counted from when that was issued', async () => {
  await using ingress = await startIngress()
  const age = 3_600_000
  const now = Date.now()
  const plain = await revoke(ingress, { jti: 'a' })
  expect(plain.expiresAt).toBeGreaterThanOrEqual(now + age)
  expect(plain.expiresAt).toBeLessThanOrEqual(Date.now() + age)
  const ban = Date.parse('2100-01-01T00:00:00Z')
  expect(await revoke(ingress, { user: 8, issuedBefore: ban })).toMatchObject({ expiresAt: ban + age })
  // What was issued long ago and does not expire is revoked for so long at least.
  expect((await revoke(ingress, { user: 9, issuedBefore: 1 })).expiresAt).toBeGreaterThanOrEqual(now + age)
})

test('the list is in order, by pages, and what is lifted is gone from it', async () => {
  await using ingress = await startIngress()
  const ids: string[] = []
  for (let jti = 0; jti < 5; jti++) ids.push((await revoke(ingress, { jti })).id)
  expect((await list(ingress)).map(({ id }) => id)).toEqual(ids)
  const first = await ingress.call('GET', '/v1/revocations?limit=2')
  expect(first.json).toMatchObject({ revocations: [{ id: ids[0], jti: '0' }, { id: ids[1] }], next: expect.stringMatching(/^\d+$/) })
  // The one where the page ended, and one that would be on the next page.
  const [, second = '', third = '', fourth = '', fifth = ''] = ids
  for (const id of [second, third]) expect((await ingress.call('DELETE', `/v1/revocations/${id}`)).status).toBe(202)
  const next = await ingress.call('GET', `/v1/revocations?limit=2&after=${first.json.next}`)
  expect(next.json).toMatchObject({ revocations: [{ id: fourth }, { id: fifth }], next: null })
  // One that is renewed goes to the end.
  await revoke(ingress, { jti: 0 })
  expect((await list(ingress)).map(({ id }) => id)).toEqual([fourth, fifth, ids[0]])
})

test('lifting needs an id that is there', async () => {
  await using ingress = await startIngress()
  const { id } = await revoke(ingress, { user: 7 })
  expect((await ingress.call('DELETE', '/v1/revocations/AAAAAAAAAAAAAAAA')).json).toMatchObject({ status: 404, code: 'not_found' })
  expect((await ingress.call('DELETE', '/v1/revocations/short')).json).toMatchObject({ status: 400, errors: [{ pointer: '/path/revocation' }] })
  expect((await ingress.call('DELETE', `/v1/revocations/${id}`)).json.offset).toMatch(/-2$/)
  expect((await ingress.call('DELETE', `/v1/revocations/${id}`)).status).toBe(404)
  for (const after of ['x', '-1', '1e3'])
    expect((await ingress.call('GET', `/v1/revocations?after=${after}`)).json).toMatchObject({ status: 400, errors: [{ pointer: '/query/after' }] })
})

test('only a key with the scope admin revokes, lists and lifts', async () => {
  await using ingress = await startIngress()
  const { id } = await revoke(ingress, { user: 7 })
  for (const scope of ['publish', 'read'] as const) {
    const headers = { authorization: `Bearer ${keyOf(scope)}` }
    for (const [method, path, body] of [
      ['POST', '/v1/revocations', { user: 8 }],
      ['GET', '/v1/revocations', undefined],
      ['DELETE', `/v1/revocations/${id}`, undefined],
    ] as const)
      expect((await ingress.call(method, path, { headers, body })).json, `${method} with ${scope}`).toMatchObject({ code: 'scope_missing' })
  }
  expect(await list(ingress)).toHaveLength(1)
  expect((await ingress.call('GET', '/v1/revocations', { headers: { authorization: `Bearer ${keyOf('admin')}` } })).status).toBe(200)
})

interface Answer {
  readonly id: string
  readonly expiresAt: number
  readonly sessions: number
}

interface Listed {
  readonly id: string
  readonly issuedBefore?: number
  readonly expiresAt: number
  readonly revokedAt: number
}

async function revoke(ingress: Ingress, body: object): Promise<Answer> {
  const { status, json } = await ingress.call('POST', '/v1/revocations', { body })
  expect({ body, status, errors: json.errors }).toMatchObject({ body, status: 202 })
  return json as unknown as Answer
}

async function list(ingress: Ingress): Promise<readonly Listed[]> {
  return (await ingress.call('GET', '/v1/revocations?limit=1000')).json.revocations as readonly Listed[]
}

async function find(ingress: Ingress, id: string): Promise<Listed | undefined> {
  return (await list(ingress)).find((revocation) => revocation.id === id)
}
