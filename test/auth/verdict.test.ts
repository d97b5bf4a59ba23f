import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { IssuerOptions } from '../../src/auth/issuer.ts'
import { parsePublicKeys, parseSecret } from '../../src/auth/keys.ts'
import { createTokenVerifier } from '../../src/auth/tokens.ts'
import { type CheckOptions, examine } from '../../src/cli/token-checks.ts'
import { BridgeError, type ErrorCode } from '../../src/errors.ts'
import { ecdsa, hmac, issuer, now, secret, signJws } from './sign.ts'

const pair = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const publicKeys = parsePublicKeys(pair.publicKey.export({ type: 'spki', format: 'pem' }).toString())

const plain = issuer({ keys: [{ kind: 'fixed', keys: [parseSecret(secret, 'utf8')] }] })
const strict = issuer({
  name: 'strict',
  keys: [{ kind: 'fixed', keys: publicKeys }],
  issuers: ['strict', 'https://s/*'],
  audiences: ['web', 'app'],
  authorizedParties: ['page'],
  types: ['JWT'],
  requiredClaims: ['token_use=access', 'tenant'],
  maxLifeMs: 3_600_000,
  clockToleranceMs: 5000,
  roomTemplates: ['role:{roles[]}'],
})
const worlds: readonly (readonly IssuerOptions[])[] = [
  [plain],
  [strict],
  [plain, strict],
  [{ ...strict, requireExp: false, numericStringDates: true }],
]

async function verdict(token: string, options: CheckOptions): Promise<ErrorCode | 'accepted'> {
  try {
    await createTokenVerifier({ ...options, onFailure: () => {} }).verify(token)
    return 'accepted'
  } catch (error) {
    if (error instanceof BridgeError) return error.code
    throw error
  }
}

const sometimes = <T>(...values: readonly T[]) => fc.option(fc.constantFrom(...values), { nil: undefined, freq: 4 })
const claims = fc.record({
  iss: sometimes<unknown>('strict', 'https://s/login', 'other', '*', 5),
  aud: sometimes<unknown>('web', ['x', 'app'], 'other', 'sidecast:room', 'service', null),
  azp: sometimes<unknown>('page', 'other', 1),
  client_id: sometimes('page', 'other'),
  token_use: sometimes('access', 'id'),
  tenant: sometimes<unknown>('t', null, 7),
  sub: sometimes<unknown>('42', 42, '', null, 1e300, '\u0000'),
  rooms: sometimes<unknown>(['a', 'b:*'], 'a', ['a*'], [], null),
  roles: sometimes<unknown>(['r'], 'r', {}),
  exp: sometimes<unknown>(now + 600, now - 1, now - 60, String(now + 600), 'soon', now * 1000, now + 86_400),
  nbf: sometimes<unknown>(now - 1, now + 60, 'x'),
  iat: sometimes<unknown>(now - 5, now + 60, String(now), {}),
})
const header = fc.record({ typ: sometimes('JWT', 'application/jwt', 'at+jwt'), kid: sometimes('k', 'l') })
const signed = fc.record({ header, claims, by: fc.constantFrom('secret', 'key', 'nobody', 'none') }).map(({ header: head, claims: body, by }) => {
  switch (by) {
    case 'secret':
      return signJws({ ...head, alg: 'HS256' }, body, hmac(256, secret))
    case 'key':
      return signJws({ ...head, alg: 'ES256' }, body, ecdsa(256, pair.privateKey))
    case 'nobody':
      return signJws({ ...head, alg: 'HS256' }, body, hmac(256, 'x'.repeat(64)))
    default:
      return signJws({ ...head, alg: 'none' }, body, () => Buffer.alloc(0))
  }
})
const tokens = fc.oneof(
  { weight: 9, arbitrary: signed },
  { weight: 1, arbitrary: signed.map((token) => `Bearer ${token}`) },
  { weight: 1, arbitrary: fc.string() },
)

test('what verify-token says first is what the bridge says, whatever the token; and it accepts what the bridge accepts', async () => {
  const seen = new Set<string>()
  await fc.assert(
    fc.asyncProperty(tokens, fc.constantFrom(...worlds), async (token, issuers) => {
      const options = { issuers, reservedAudiences: ['service'], now: () => now * 1000 }
      const expected = await verdict(token, options)
      seen.add(expected)
      const { refusals, identity, checks } = await examine(token, options)
      expect(refusals[0] ?? 'accepted').toBe(expected)
      expect(identity === undefined).toBe(expected !== 'accepted')
      // A refusal is shown as one, with what to do about it; after an acceptance there is none.
      const refused = checks.filter(({ outcome }) => outcome === 'REFUSED')
      expect(refused.length > 0).toBe(expected !== 'accepted')
      for (const { cures, detail } of refused) expect([cures.length > 0, detail.length > 0]).toEqual([true, true])
    }),
    { numRuns: 3000 },
  )
  expect([...seen].toSorted()).toEqual(
    [
      'accepted',
      'token_audience',
      'token_claims',
      'token_expired',
      'token_issuer',
      'token_malformed',
      'token_not_active',
      'token_signature',
    ].toSorted(),
  )
})
