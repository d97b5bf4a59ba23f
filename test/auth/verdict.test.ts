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

/** What all worlds accept. */
const right = {
  iss: 'strict',
  aud: 'web',
  azp: 'page',
  token_use: 'access',
  tenant: 't',
  sub: '42',
  exp: now + 600,
  iat: now - 5,
}
/** Mostly `usual`; now and then one of `others`, or nothing: so that each check comes to be the one that decides. */
const mostly = (usual: unknown, ...others: readonly unknown[]) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(undefined, ...others) })
const claims = fc.record({
  iss: mostly(right.iss, 'https://s/login', 'other', '*', 5),
  aud: mostly(right.aud, ['x', 'app'], 'other', 'sidecast:room', 'service', null),
  azp: mostly(right.azp, 'other', 1),
  client_id: mostly(undefined, 'page', 'other'),
  token_use: mostly(right.token_use, 'id'),
  tenant: mostly(right.tenant, null, 7),
  sub: mostly(right.sub, 42, '', null, 1e300, '\u0000'),
  rooms: mostly(['a', 'b:*'], 'a', ['a*'], [], null),
  roles: mostly(['r'], 'r', {}),
  exp: mostly(right.exp, now - 1, now - 60, String(now + 600), 'soon', now * 1000, now + 86_400),
  nbf: mostly(now - 1, now + 60, 'x'),
  iat: mostly(right.iat, now + 60, String(now), {}),
})
const header = fc.record({ typ: mostly('JWT', 'application/jwt', 'at+jwt'), kid: mostly(undefined, 'k', 'l') })
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

/** One token for each verdict, so that none is left to chance. */
const examples = [{}, { aud: 'other' }, { sub: '' }, { exp: now - 60 }, { iss: 'other' }, { nbf: now + 60 }].map(
  (change): [string, readonly IssuerOptions[]] => [
    signJws({ alg: 'ES256', typ: 'JWT' }, { ...right, ...change }, ecdsa(256, pair.privateKey)),
    [strict],
  ],
)
examples.push([signJws({ alg: 'HS256' }, right, hmac(256, 'x'.repeat(64))), [plain]], ['', [plain]])

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
    { numRuns: 3000, examples },
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
