import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BridgeError, type ErrorCode } from '../../src/errors.ts'
import { secret as bridgeSecret, login, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { encode, hmac, judge, now, secret, signJws, token } from './sign.ts'

const signed = (header: string | object, claims: string | object | Buffer = { sub: '42', exp: now + 60 }) =>
  signJws(header, claims, hmac(256, secret))

test('a login says whose it is, which rooms it opens and when it ends', async () => {
  const login = token({ sub: 'bob', rooms: ['lobby', 7, 'order:*', 'shop/**'], iat: now - 5, exp: now + 60.5 })
  expect(await judge(login, { clockToleranceMs: 2000 })).toEqual({
    user: 'bob',
    rooms: ['user:bob', 'lobby', '7'],
    grants: [
      ['order', ':', '*'],
      ['shop', '/', '**'],
    ],
    issuedAt: (now - 7) * 1000,
    iat: (now - 5) * 1000,
    expiresAt: (now + 60) * 1000 + 500,
  })
})

describe('a token that is not well formed is refused as such', () => {
  const whole = token()
  const [header = '', claims = '', signature = ''] = whole.split('.')
  const alg = encode({ alg: 'HS256' })
  test.each<[string, string]>([
    ['nothing at all', ''],
    ['dots alone', '..'],
    ['two parts', `${header}.${claims}`],
    ['four parts', `${whole}.${signature}`],
    ['five parts, as an encrypted token has', [encode({ alg: 'dir', enc: 'A256GCM' }), '', 'aXY', 'Y2lwaGVy', 'dGFn'].join('.')],
    ['five full parts', [alg, claims, claims, claims, signature].join('.')],
    ['an empty header', `.${claims}.${signature}`],
    ['empty claims', `${header}..${signature}`],
    ['a hundred kilobytes', token({ padding: 'x'.repeat(100_000) })],
    ['one character more than the limit', token({ padding: 'x'.repeat(8192) }).slice(0, 8193)],
    ['base64 with its padding', `${header}=.${claims}.${signature}`],
    ['the other base64', `${header}.${claims}.${signature.slice(0, -2)}+/`],
    ['white space around', ` ${whole}`],
    ['a line end behind', `${whole}\n`],
    ['the word Bearer', `Bearer ${whole}`],
    ['a NUL', `${whole}\0`],
    ['letters that are not ASCII', `${header}.${claims}ä.${signature}`],
    ['a header that is not JSON', signed('alg=HS256')],
    ['a header that is a list', signed('["HS256"]')],
    ['a header that is null', signed('null')],
    ['a header that is a text', signed('"HS256"')],
    ['a header without alg', signed({ typ: 'JWT' })],
    ['an alg that is a list', signed({ alg: ['HS256'] })],
    ['an alg that is null', signed({ alg: null })],
    ['a header in bytes that are no UTF-8', signed(Buffer.concat([Buffer.from('{"alg":"HS256","x":"'), Buffer.of(0xff), Buffer.from('"}')]))],
    ['claims that are no JSON', signed({ alg: 'HS256' }, 'sub=42')],
    ['claims that are no JSON, in a JWT', signed({ alg: 'HS256', typ: 'JWT' }, 'sub=42')],
    ['claims that are a list', signed({ alg: 'HS256' }, [{ sub: '42' }])],
    ['claims that are null', signed({ alg: 'HS256', typ: 'JWT' }, 'null')],
    ['claims that are a number', signed({ alg: 'HS256', typ: 'JWT' }, '42')],
    ['claims that are a text', signed({ alg: 'HS256' }, '"42"')],
    ['claims in bytes that are no UTF-8', token(Buffer.concat([Buffer.from('{"sub":"M'), Buffer.of(0xfc), Buffer.from(`ller","exp":${now + 60}}`)]))],
    ['an extension that must be understood', signed({ alg: 'HS256', crit: ['b64'], b64: false })],
    ['an empty list of extensions', signed({ alg: 'HS256', crit: [] })],
  ])('%s', async (_, text) => {
    expect(await judge(text)).toBe('token_malformed')
  })
})

describe('dates', () => {
  const hour = 3600
  test.each<[string, string, ErrorCode | 'accepted']>([
    ['exp a second ahead', `"exp":${now + 1}`, 'accepted'],
    ['exp a fraction of a second ahead', `"exp":${now}.25`, 'accepted'],
    ['exp now', `"exp":${now}`, 'token_expired'],
    ['exp a fraction of a second ago', `"exp":${now - 1}.75`, 'token_expired'],
    ['exp zero', '"exp":0', 'token_expired'],
    ['exp negative', '"exp":-1', 'token_expired'],
    ['exp in a very far future', '"exp":100000000000', 'accepted'],
    ['exp in milliseconds', `"exp":${now * 1000}`, 'token_claims'],
    ['exp beyond all dates', '"exp":8640000000001', 'token_claims'],
    ['nbf in milliseconds', `"exp":${now + hour},"nbf":${now * 1000}`, 'token_claims'],
    ['iat in milliseconds', `"exp":${now + hour},"iat":${now * 1000}`, 'token_claims'],
    ['exp infinite', '"exp":1e999', 'token_claims'],
    ['exp infinite in the other direction', '"exp":-1e999', 'token_claims'],
    ['exp a text', `"exp":"${now + hour}"`, 'token_claims'],
    ['exp the text NaN', '"exp":"NaN"', 'token_claims'],
    ['exp null', '"exp":null', 'token_claims'],
    ['exp true', '"exp":true', 'token_claims'],
    ['exp a list', `"exp":[${now + hour}]`, 'token_claims'],
    ['exp an object', '"exp":{"valueOf":1}', 'token_claims'],
    ['no exp', '"x":1', 'token_claims'],
    ['exp twice, the last one over', `"exp":${now + hour},"exp":${now - 1}`, 'token_malformed'],
    ['exp hidden in a prototype', `"__proto__":{"exp":${now + hour}}`, 'token_claims'],
    ['nbf now', `"exp":${now + hour},"nbf":${now}`, 'accepted'],
    ['nbf ahead', `"exp":${now + hour},"nbf":${now + 1}`, 'token_not_active'],
    ['nbf a fraction ahead', `"exp":${now + hour},"nbf":${now}.5`, 'token_not_active'],
    ['nbf a text', `"exp":${now + hour},"nbf":"0"`, 'token_claims'],
    ['iat a text', `"exp":${now + hour},"iat":"0"`, 'token_claims'],
    ['iat ahead, by a clock that is', `"exp":${now + hour},"iat":${now + 5}`, 'token_not_active'],
  ])('%s', async (_, member, expected) => {
    const answer = await judge(token(`{"sub":"42",${member}}`))
    expect(typeof answer === 'string' ? answer : 'accepted').toBe(expected)
  })

  test('the tolerance counts on both sides, to the millisecond', async () => {
    expect(await judge(token({ exp: now - 29.999 }), { clockToleranceMs: 30_000 })).toMatchObject({ user: '42' })
    expect(await judge(token({ exp: now - 30 }), { clockToleranceMs: 30_000 })).toBe('token_expired')
    expect(await judge(token({ nbf: now + 30 }), { clockToleranceMs: 30_000 })).toMatchObject({ user: '42' })
    expect(await judge(token({ nbf: now + 30.001 }), { clockToleranceMs: 30_000 })).toBe('token_not_active')
  })

  test('a token without exp is a login only where that is configured, and then never expires', async () => {
    expect(await judge(token('{"sub":"42"}'), { requireExp: false })).toEqual({ user: '42', rooms: ['user:42'], grants: [] })
  })
})

describe('issuer and audience', () => {
  test.each<[string, object, object, ErrorCode | 'accepted']>([
    ['the right issuer', { iss: 'https://shop' }, { issuers: ['https://shop'] }, 'accepted'],
    ['another issuer', { iss: 'https://shop.evil' }, { issuers: ['https://shop'] }, 'token_issuer'],
    ['no issuer', {}, { issuers: ['https://shop'] }, 'token_issuer'],
    ['a list with the right issuer', { iss: ['https://shop'] }, { issuers: ['https://shop'] }, 'token_issuer'],
    ['any issuer where none is configured', { iss: 'x' }, {}, 'accepted'],
    ['the right audience', { aud: 'push' }, { audiences: ['push'] }, 'accepted'],
    ['the right audience in a list', { aud: ['web', 'push'] }, { audiences: ['push'] }, 'accepted'],
    ['another audience', { aud: 'web' }, { audiences: ['push'] }, 'token_audience'],
    ['other audiences', { aud: ['web', 'pushy', 'pus'] }, { audiences: ['push'] }, 'token_audience'],
    ['an empty list of audiences', { aud: [] }, { audiences: ['push'] }, 'token_audience'],
    ['a list in a list', { aud: [['push']] }, { audiences: ['push'] }, 'token_audience'],
    ['an object as audience', { aud: { push: true } }, { audiences: ['push'] }, 'token_audience'],
    ['no audience', {}, { audiences: ['push'] }, 'token_audience'],
    ['a room token', { aud: 'sidecast:room', room: 'a' }, {}, 'token_audience'],
    ['a room token that names other audiences too', { aud: ['push', 'sidecast:room'] }, { audiences: ['push'] }, 'token_audience'],
    ['a room token where its audience is configured', { aud: 'sidecast:room' }, { audiences: ['sidecast:room'] }, 'token_audience'],
  ])('%s', async (_, claims, options, expected) => {
    const answer = await judge(token(claims), options)
    expect(typeof answer === 'string' ? answer : 'accepted').toBe(expected)
  })
})

describe('the user', () => {
  const userOf = async (claims: string, userClaims: readonly string[] = ['sub']) => {
    const answer = await judge(token(`{${claims},"exp":${now + 60}}`), { userClaims })
    return typeof answer === 'string' ? answer : { user: answer.user }
  }

  test.each<[string, string, string]>([
    ['a text', '"sub":"bob"', 'bob'],
    ['an integer', '"sub":42', '42'],
    ['zero', '"sub":0', '0'],
    ['a negative integer', '"sub":-7', '-7'],
    ['the largest exact integer', '"sub":9007199254740991', '9007199254740991'],
    ['digits beyond 2^53 as a text', '"sub":"9007199254740993"', '9007199254740993'],
    ['two hundred characters', `"sub":"${'ü'.repeat(200)}"`, 'ü'.repeat(200)],
    ['the issuer in front, as Auth0 has it', '"sub":"auth0|6f"', 'auth0|6f'],
  ])('%s is taken as it is', async (_, claims, user) => {
    expect(await userOf(claims)).toEqual({ user })
  })

  test.each<[string, string]>([
    ['an integer beyond 2^53, which has lost a digit already', '"sub":9007199254740993'],
    ['2^53 itself', '"sub":9007199254740992'],
    ['a large negative integer', '"sub":-9007199254740993'],
    ['a long of Java', '"sub":9223372036854775807'],
    ['1e400', '"sub":1e400'],
    ['a fraction', '"sub":1.5'],
    ['an empty text', '"sub":""'],
    ['201 characters', `"sub":"${'x'.repeat(201)}"`],
    ['a control character', '"sub":"a\\u0000b"'],
    ['a line end', '"sub":"a\\nb"'],
    ['an invisible character', '"sub":"bob\\u200b"'],
    ['a change of direction', '"sub":"\\u202ebob"'],
    ['half a character', '"sub":"\\ud800"'],
    ['null', '"sub":null'],
    ['true', '"sub":true'],
    ['a list', '"sub":["42"]'],
    ['an object', '"sub":{"id":42}'],
    ['no claim', '"user":"42"'],
    ['a claim of the prototype', '"__proto__":{"sub":"42"}'],
  ])('%s is refused', async (_, claims) => {
    expect(await userOf(claims)).toBe('token_claims')
  })

  test('stands where the dotted path leads', async () => {
    expect(await userOf('"data":{"user":{"id":7}}', ['data.user.id'])).toEqual({ user: '7' })
    expect(await userOf('"data":{"user":[7]}', ['data.user.0'])).toBe('token_claims')
    expect(await userOf('"data":{"user":{"id":9007199254740993}}', ['data.user.id'])).toBe('token_claims')
    expect(await userOf('"data":"text"', ['data.length'])).toBe('token_claims')
    expect(await userOf('"data":{}', ['data.constructor.name'])).toBe('token_claims')
  })

  test('stands in a claim that has dots in its own name', async () => {
    expect(await userOf('"https://shop.example/user":"bob"', ['https://shop.example/user'])).toEqual({ user: 'bob' })
  })

  test('stands in the first claim of the list that is there; one that is there and cannot be used is not passed over', async () => {
    expect(await userOf('"uid":7,"sub":"bob"', ['user_id', 'uid', 'sub'])).toEqual({ user: '7' })
    expect(await userOf('"uid":null,"sub":"bob"', ['uid', 'sub'])).toEqual({ user: 'bob' })
    expect(await userOf('"uid":"","sub":"bob"', ['uid', 'sub'])).toBe('token_claims')
  })
})

describe('the rooms', () => {
  test.each<[string, unknown]>([
    ['a text', 'lobby'],
    ['an object', { lobby: true }],
    ['a number', 7],
    ['a room without a name', ['']],
    ['a room that is null', [null]],
    ['a room that is a list', [['lobby']]],
    ['an integer beyond 2^53', [2 ** 53]],
    ['a control character', ['a\u0007']],
    ['a star within a segment', ['order:4*']],
    ['two stars that are not at the end', ['**:order']],
    ['two stars within a segment', ['order:a**']],
    ['three stars', ['***']],
    ['one bad grant among good ones', ['lobby', 'a:**:b']],
  ])('%s is refused', async (_, rooms) => {
    expect(await judge(token({ rooms }))).toBe('token_claims')
  })

  test('exact names are rooms, each once; stars are grants', async () => {
    expect(await judge(token({ rooms: ['a', 'a', '*', '**', 'shop.*.orders', 'x/**'] }))).toMatchObject({
      rooms: ['user:42', 'a'],
      grants: [['*'], ['**'], ['shop', '.', '*', '.', 'orders'], ['x', '/', '**']],
    })
  })

  test('null and a missing claim are no rooms', async () => {
    for (const claims of [{ rooms: null }, {}, { rooms: [] }]) expect(await judge(token(claims))).toMatchObject({ rooms: ['user:42'], grants: [] })
  })

  test('may stand elsewhere', async () => {
    expect(await judge(token({ realm: { rooms: ['a'] }, rooms: ['b'] }), { roomsClaim: 'realm.rooms' })).toMatchObject({ rooms: ['user:42', 'a'] })
  })
})

test('whatever a well-signed token says, the answer is an identity or a code', async () => {
  const value = fc.json().map((text): unknown => JSON.parse(text))
  const claims = fc.record(
    { sub: value, exp: fc.oneof(value, fc.constant(now + 60)), rooms: value, aud: value, nbf: value, iat: value },
    { requiredKeys: [] },
  )
  const refusals = /^token_(claims|expired|not_active|audience)$/
  await fc.assert(
    fc.asyncProperty(claims, async (said) => {
      const answer = await judge(signed({ alg: 'HS256' }, said))
      if (typeof answer === 'string') expect(answer).toMatch(refusals)
      else expect(answer.user).toBe(String(said.sub))
    }),
    { numRuns: 3000 },
  )
})

test('over a connection, a refusal says its code and our fixed text, and nothing of the token or of a library', async () => {
  await using bridge = await startTestBridge({ JWT_ISSUER: 'https://shop', JWT_AUDIENCE: 'push', JWT_CLOCK_TOLERANCE: '0s' })
  const ours = { iss: 'https://shop', aud: 'push' }
  const seconds = Math.floor(Date.now() / 1000)
  const raw = (header: string | object, claims: string | object) => signJws(header, claims, hmac(256, bridgeSecret))
  const cases: readonly [string | undefined, ErrorCode][] = [
    [undefined, 'token_missing'],
    ['', 'token_missing'],
    ['canary', 'token_malformed'],
    [raw('{"canary', ours), 'token_malformed'],
    [raw({ alg: 'HS256' }, '"canary"'), 'token_malformed'],
    [raw({ alg: 'canary' }, ours), 'token_signature'],
    [`${login('42', ours).slice(0, -4)}AAAA`, 'token_signature'],
    [login('42', { ...ours, exp: seconds - 1 }), 'token_expired'],
    [login('42', { ...ours, nbf: seconds + 3600 }), 'token_not_active'],
    [login('42', { ...ours, iss: 'canary' }), 'token_issuer'],
    [login('42', { ...ours, aud: 'canary' }), 'token_audience'],
    [login('canary\0', ours), 'token_claims'],
    [raw({ alg: 'HS256' }, { ...ours, sub: '42' }), 'token_claims'],
    [raw({ alg: 'HS256' }, `{"iss":"https://shop","aud":"push","exp":${seconds + 60},"sub":9007199254740993}`), 'token_claims'],
    [login('42', { ...ours, rooms: ['canary*'] }), 'token_claims'],
  ]
  for (const [text, code] of cases) {
    await using session = connectSession(bridge.publicUrl, text === undefined ? { reconnection: false } : { token: text, reconnection: false })
    const refused = new Promise<Error>((resolve) => session.socket.once('connect_error', resolve))
    const error = await refused
    const { text: message, retryable: retry } = new BridgeError(code)
    expect({ ...error, message: error.message }).toEqual({ message, data: { code, message, retry } })
  }
})
