import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { parsePublicKeys } from '../../src/auth/keys.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { answerOf, ecdsa, hmac, issuer, judge, now, secret, signJws, token, verifier } from './sign.ts'

const accepted = expect.objectContaining({ user: '42' })

function createIssuer(name: string, issuers: readonly string[]) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const keys = parsePublicKeys(String(publicKey.export({ type: 'spki', format: 'pem' })))
  return {
    options: issuer({ name, issuers, keys: [{ kind: 'fixed', keys }] }),
    sign: (claims: object) => signJws({ alg: 'ES256' }, { sub: '42', exp: now + 60, ...claims }, ecdsa(256, privateKey)),
  }
}

describe('several issuers side by side', () => {
  const shop = createIssuer('shop', ['https://shop', 'https://shop.old'])
  const tenants = createIssuer('tenants', ['https://tenant/*'])
  const special = createIssuer('special', ['https://tenant/special/*', 'https://tenant/one'])
  const others = createIssuer('others', [])
  const all = [shop, tenants, special, others]
  const { verify } = verifier(all.map(({ options }) => options))

  test.each<[string, unknown, (typeof all)[number]]>([
    ['exactly', 'https://shop', shop],
    ['by one of its names', 'https://shop.old', shop],
    ['by how it begins', 'https://tenant/7', tenants],
    ['by the longer beginning', 'https://tenant/special/7', special],
    ['exactly rather than by a beginning', 'https://tenant/one', special],
    ['as none that is known', 'https://shop/', others],
    ['in other letters', 'https://SHOP', others],
    ['not at all', undefined, others],
    ['as a list', ['https://shop'], others],
    ['as null', null, others],
  ])('one that is named %s is asked alone: the keys of the others verify nothing', async (_, iss, expected) => {
    for (const signer of all) expect(await answerOf(() => verify(signer.sign({ iss })))).toEqual(signer === expected ? accepted : 'token_signature')
  })

  test('an issuer that nobody claims is refused as such, whoever has signed', async () => {
    const { verify } = verifier([shop.options, tenants.options])
    for (const iss of ['https://other', 'https://tenant', '', '*', undefined, null, 7, ['https://shop'], { toString: 'https://shop' }])
      expect(await answerOf(() => verify(shop.sign({ iss })))).toBe('token_issuer')
    await expect(verify(shop.sign({ iss: 'https://other' }))).rejects.toThrow(
      'the issuer (iss) is "https://other", not "https://shop" or "https://shop.old" or "https://tenant/*" (SIDECAST_JWT_ISSUER)',
    )
  })

  test('each has claims and checks of its own', async () => {
    const mail = { ...shop.options, userClaims: ['mail'], audiences: ['push'] }
    const { verify } = verifier([mail, others.options])
    expect(await verify(shop.sign({ iss: 'https://shop', mail: 'bob', aud: 'push' }))).toMatchObject({ user: 'bob' })
    expect(await answerOf(() => verify(shop.sign({ iss: 'https://shop', mail: 'bob' })))).toBe('token_audience')
    expect(await verify(others.sign({}))).toMatchObject({ user: '42' })
  })

  test('two that claim the same tokens are refused at the start', () => {
    expect(() => verifier([shop.options, createIssuer('twin', ['https://x', 'https://shop']).options])).toThrow(
      /two issuers claim the tokens of https:\/\/shop:/,
    )
    expect(() => verifier([others.options, createIssuer('twin', []).options])).toThrow(/two issuers claim/)
  })

  test('the reason for the log names the issuer, the key that was asked for, and no token', async () => {
    const text = signJws({ alg: 'ES384', kid: `x${'y'.repeat(300)}\n` }, { iss: 'https://shop' }, () => Buffer.alloc(64))
    await expect(verify(text)).rejects.toThrow(/^issuer shop: no key with the kid "x(y{198})… can verify ES384$/)
  })
})

describe('what an issuer’s tokens must say', () => {
  const typed = (typ: unknown) => signJws({ alg: 'HS256', typ }, { sub: '42', exp: now + 60 }, hmac(256, secret))
  type Case = [string, string, Parameters<typeof judge>[1], ErrorCode | 'accepted']
  test.each<Case>([
    ['one of several audiences', token({ aud: ['web', 'push'] }), { audiences: ['app', 'push'] }, 'accepted'],
    ['none of several audiences', token({ aud: ['web'] }), { audiences: ['app', 'push'] }, 'token_audience'],
    ['the authorized party', token({ azp: 'spa' }), { authorizedParties: ['app', 'spa'] }, 'accepted'],
    ['another authorized party', token({ azp: 'evil', client_id: 'spa' }), { authorizedParties: ['spa'] }, 'token_audience'],
    ['the client instead of the party', token({ client_id: 'spa' }), { authorizedParties: ['spa'] }, 'accepted'],
    ['no party', token(), { authorizedParties: ['spa'] }, 'token_audience'],
    ['the party null', token({ azp: null }), { authorizedParties: ['spa'] }, 'token_audience'],
    ['the party in a list', token({ azp: ['spa'] }), { authorizedParties: ['spa'] }, 'token_audience'],
    ['the type', typed('at+jwt'), { types: ['JWT', 'at+jwt'] }, 'accepted'],
    ['the type in other letters, with the prefix', typed('Application/AT+JWT'), { types: ['at+jwt'] }, 'accepted'],
    ['the type where the prefix is configured', typed('at+jwt'), { types: ['application/at+jwt'] }, 'accepted'],
    ['another type', typed('logout+jwt'), { types: ['at+jwt'] }, 'token_claims'],
    ['no type', typed(undefined), { types: ['at+jwt'] }, 'token_claims'],
    ['the type in a list', typed(['at+jwt']), { types: ['at+jwt'] }, 'token_claims'],
    ['a required claim', token({ tenant: 0 }), { requiredClaims: ['tenant'] }, 'accepted'],
    ['a required claim that is null', token({ tenant: null }), { requiredClaims: ['tenant'] }, 'token_claims'],
    ['no required claim', token(), { requiredClaims: ['tenant'] }, 'token_claims'],
    ['a required value', token({ token_use: 'access' }), { requiredClaims: ['token_use=access'] }, 'accepted'],
    ['another value', token({ token_use: 'id' }), { requiredClaims: ['token_use=access'] }, 'token_claims'],
    ['a required value with a sign of equality', token({ a: 'b=c' }), { requiredClaims: ['a=b=c'] }, 'accepted'],
    ['a required value of another kind', token({ email_verified: true }), { requiredClaims: ['email_verified=true'] }, 'accepted'],
    ['a required value in a list', token({ roles: ['a', 'push'] }), { requiredClaims: ['roles=push'] }, 'accepted'],
    ['a required value in an object', token({ roles: { push: 1 } }), { requiredClaims: ['roles=[object Object]'] }, 'token_claims'],
    ['a required value by its path', token({ realm: { roles: ['push'] } }), { requiredClaims: ['realm.roles=push', 'sub'] }, 'accepted'],
    ['a life at the limit', token({ iat: now - 10, exp: now + 50 }), { maxLifeMs: 60_000 }, 'accepted'],
    ['a life beyond the limit', token({ iat: now - 10, exp: now + 50.5 }), { maxLifeMs: 60_000 }, 'token_claims'],
    ['no iat where life is limited, however near the end', token({ exp: now + 1 }), { maxLifeMs: 60_000 }, 'token_claims'],
    ['no iat where it is not', token({ exp: now + 1e6 }), {}, 'accepted'],
    ['no end where life is limited', token('{"sub":"42"}'), { maxLifeMs: 60_000, requireExp: false }, 'token_claims'],
    ['dates as texts', token({ iat: `${now}`, nbf: `${now}.0`, exp: `${now + 60}.5` }), { numericStringDates: true }, 'accepted'],
    ['an end as a text that is over', token({ exp: `${now}` }), { numericStringDates: true }, 'token_expired'],
    ['a text that is no number', token({ exp: 'NaN' }), { numericStringDates: true }, 'token_claims'],
    ['a text with a sign', token({ exp: `+${now + 60}` }), { numericStringDates: true }, 'token_claims'],
    ['a text in hexadecimal', token({ exp: '0x7fffffff' }), { numericStringDates: true }, 'token_claims'],
    ['a text with an exponent', token({ exp: '18e8' }), { numericStringDates: true }, 'token_claims'],
    ['a text of milliseconds', token({ exp: `${now + 60}000` }), { numericStringDates: true }, 'token_claims'],
    ['an empty text', token({ exp: '' }), { numericStringDates: true }, 'token_claims'],
  ])('%s', async (_, text, options, expected) => {
    expect(await judge(text, options)).toEqual(expected === 'accepted' ? accepted : expected)
  })

  test('dates as texts become dates of the session', async () => {
    expect(await judge(token({ iat: `${now - 5}`, exp: `${now + 60}.5` }), { numericStringDates: true })).toMatchObject({
      issuedAt: (now - 5) * 1000,
      expiresAt: (now + 60) * 1000 + 500,
    })
  })

  test('a token for an audience that is reserved is no login, whoever else it is for', async () => {
    const { verify } = verifier([issuer({ audiences: ['push'] })], { reservedAudiences: ['service'] })
    expect(await verify(token({ aud: ['push', 'web'] }))).toEqual(accepted)
    for (const aud of ['service', ['push', 'service'], ['push', 'sidecast:room']])
      expect(await answerOf(() => verify(token({ aud })))).toBe('token_audience')
  })
})
