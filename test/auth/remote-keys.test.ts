import { createHash, generateKeyPairSync } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { IssuerOptions } from '../../src/auth/issuer.ts'
import type { TokenVerifierOptions } from '../../src/auth/tokens.ts'
import { answerOf, hmac, issuer, now, rsa, secret, signJws, verifier } from './sign.ts'
import { createKey, dripping, hanging, json, startIssuer, type TestIssuer } from './test-issuer.ts'

const accepted = expect.objectContaining({ user: '42' })
const known = createKey('known')
const later = createKey('later')

/** A verifier of what the issuer publishes, with a clock that the test moves and a list of what went wrong in the background. */
function verifierOf({ url }: TestIssuer, { timing, ...options }: Partial<IssuerOptions> & Pick<TokenVerifierOptions, 'timing'> = {}) {
  const clock = { seconds: now }
  const failures: string[] = []
  const verify = verifier([issuer({ keys: [{ kind: 'jwks', url: `${url}/jwks` }], ...options })], {
    now: () => clock.seconds * 1000,
    onFailure: (error) => void failures.push(String(error)),
    ...(timing === undefined ? {} : { timing }),
  })
  return { ...verify, clock, failures, judge: (token: string) => answerOf(() => verify.verify(token)) }
}

describe('rotation', () => {
  test('the keys are fetched once for all tokens', async () => {
    await using server = await startIssuer(known)
    const { judge, checks } = verifierOf(server)
    expect(checks()).toEqual([{ name: 'keys:login', failure: expect.stringContaining('not been fetched') }])
    expect(await Promise.all(Array.from({ length: 50 }, () => judge(known.sign())))).toEqual(Array.from({ length: 50 }, () => accepted))
    expect(checks()).toEqual([{ name: 'keys:login' }])
    expect(server.requests).toEqual(['/jwks'])
  })

  test('a new key is fetched when the first token names it, and one that was taken back is gone', async () => {
    await using server = await startIssuer(known)
    const { judge, clock } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    server.publish(later)
    clock.seconds += 30
    expect(await judge(later.sign())).toEqual(accepted)
    expect(await judge(known.sign())).toBe('token_signature')
    expect(server.requests).toHaveLength(2)
  })

  test('a flood of tokens that name unknown keys makes for one fetch in the time of the cool-down', async () => {
    await using server = await startIssuer(known)
    const { judge, clock } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    const flood = async () => {
      const junk = Array.from({ length: 500 }, (_, index) => judge(known.sign({}, { kid: `junk-${index}` })))
      expect(new Set(await Promise.all(junk))).toEqual(new Set(['token_signature']))
    }
    await flood()
    expect(server.requests).toHaveLength(1)
    clock.seconds += 30
    await flood()
    await flood()
    expect(server.requests).toHaveLength(2)
    clock.seconds += 29
    await flood()
    expect(server.requests).toHaveLength(2)
  })

  test('while a fetch for an unknown key hangs, known keys verify and no second fetch begins', async () => {
    await using server = await startIssuer(known)
    const { judge, clock } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    const { listener, answer } = hanging()
    server.answer = listener
    clock.seconds += 30
    const junk = Array.from({ length: 100 }, (_, index) => judge(known.sign({}, { kid: `junk-${index}` })))
    const genuine = judge(later.sign())
    await server.asked(2)
    clock.seconds += 30
    expect(await judge(known.sign())).toEqual(accepted)
    answer(json({ keys: [known.jwk, later.jwk] }))
    expect(new Set(await Promise.all(junk))).toEqual(new Set(['token_signature']))
    expect(await genuine).toEqual(accepted)
    expect(server.requests).toHaveLength(2)
  })

  test('a token that is younger than the keys and names none of them may try again; an older one may not', async () => {
    await using server = await startIssuer(known)
    const { judge, clock } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    server.publish(known, later)
    clock.seconds += 10
    expect(await judge(later.sign({ iat: now + 5 }))).toBe('unavailable')
    expect(await judge(later.sign({ iat: now - 5 }))).toBe('token_signature')
    expect(await judge(later.sign({ iat: now + 5 }, { kid: undefined }))).toBe('token_signature')
    expect(server.requests).toHaveLength(1)
    clock.seconds += 20
    expect(await judge(later.sign({ iat: now + 5 }))).toEqual(accepted)
  })

  test('a flood of tokens that say they are young is held against those who show them, and turns nobody away whose key is new', async () => {
    await using server = await startIssuer(known)
    const { judge, clock, verify } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    const junk = createKey('junk').sign({ iat: now })
    await Promise.all(Array.from({ length: 1500 }, () => judge(junk)))
    await expect(verify(junk)).rejects.toMatchObject({ code: 'unavailable', suspect: true })
    server.publish(known, later)
    expect(await judge(later.sign({ iat: now }))).toBe('unavailable')
    expect(server.requests).toHaveLength(1)
    clock.seconds += 31
    expect(await judge(later.sign({ iat: now }))).toEqual(accepted)
    expect(await judge(junk)).toBe('token_signature')
  })

  test('a clock that is set back does not end the fetching', async () => {
    await using server = await startIssuer(known)
    const { judge, clock } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    server.publish(later)
    clock.seconds -= 3600
    expect(await judge(later.sign())).toEqual(accepted)
  })

  test('the keys are fetched again in the background, without any token', async () => {
    await using server = await startIssuer(known)
    const verify = verifierOf(server, { timing: { refreshMs: 1 } })
    verify.start()
    await server.asked(3)
    server.publish(later)
    await server.asked(server.requests.length + 2)
    verify.close()
    expect(await verify.judge(known.sign())).toBe('token_signature')
    expect(await verify.judge(later.sign())).toEqual(accepted)
  })

  test('another key under the name of an old one is fetched when a token shows it, and forged ones make for no more than one fetch', async () => {
    await using server = await startIssuer(known)
    const { judge, clock } = verifierOf(server)
    const forged = createKey('known')
    expect(await judge(known.sign())).toEqual(accepted)
    const reused = createKey('known')
    server.publish(reused)
    // Its moment may lie behind the last fetch: to be tried again.
    expect(await judge(reused.sign({ iat: clock.seconds }))).toBe('unavailable')
    expect(server.requests).toHaveLength(1)
    clock.seconds += 30
    expect(await judge(reused.sign({ iat: clock.seconds }))).toEqual(accepted)
    expect(await judge(known.sign())).toBe('token_signature')
    expect(server.requests).toHaveLength(2)
    clock.seconds += 30
    const flood = await Promise.all(Array.from({ length: 200 }, () => judge(forged.sign())))
    expect(new Set(flood)).toEqual(new Set(['token_signature']))
    expect(server.requests).toHaveLength(3)
  })

  test('an issuer may say that its keys hold for less time, down to a limit, and never for more', async () => {
    const saying = (cacheControl: string): RequestListener => {
      const answer = json({ keys: [known.jwk] })
      return (request, response) => {
        response.setHeader('cache-control', cacheControl)
        answer(request, response)
      }
    }
    await using less = await startIssuer(known)
    await using limited = await startIssuer(known)
    await using more = await startIssuer(known)
    less.answer = saying('public, Max-Age=0, must-revalidate')
    limited.answer = saying('no-store')
    more.answer = saying('max-age=31536000')
    const verifiers = [
      verifierOf(less, { timing: { refreshMs: 600_000, coolDownMs: 1 } }),
      verifierOf(limited, { timing: { refreshMs: 600_000, coolDownMs: 300_000 } }),
      verifierOf(more, { timing: { refreshMs: 1, coolDownMs: 1 } }),
    ]
    for (const verify of verifiers) verify.start()
    await Promise.all([less.asked(5), limited.asked(1), more.asked(5)])
    for (const verify of verifiers) verify.close()
    expect(limited.requests).toHaveLength(1)
  })
})

describe('an issuer that is down', () => {
  test('at the start: its tokens may try again, readiness says so, and it is asked until it is up', async () => {
    await using server = await startIssuer()
    server.answer = (request) => void request.socket.destroy()
    const verify = verifierOf(server, { timing: { retryMs: 1, maxRetryMs: 5 } })
    verify.start()
    expect(await verify.judge(known.sign())).toBe('unavailable')
    expect(verify.checks()).toEqual([{ name: 'keys:login', failure: expect.stringContaining(`${server.url}/jwks cannot be fetched`) }])
    await server.asked(5)
    expect(verify.failures.length).toBeGreaterThanOrEqual(4)
    const { listener, answer } = hanging()
    server.answer = listener
    await server.asked(server.requests.length + 1)
    const waiting = verify.judge(known.sign())
    answer(json({ keys: [known.jwk] }))
    expect(await waiting).toEqual(accepted)
    expect(verify.checks()).toEqual([{ name: 'keys:login' }])
    verify.close()
  })

  test('later: its last keys stay in force, and the log says so', async () => {
    await using server = await startIssuer(known)
    const { judge, clock, failures, checks } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    server.answer = (_, response) => void response.writeHead(503).end()
    clock.seconds += 30
    expect(await judge(later.sign())).toBe('token_signature')
    expect(failures).toEqual([expect.stringMatching(/before stay in force: .*status 503/)])
    expect(await judge(known.sign())).toEqual(accepted)
    expect(checks()).toEqual([{ name: 'keys:login' }])
  })

  test('while the first keys are not there, a token that no key could ever verify is refused for good', async () => {
    await using server = await startIssuer()
    server.answer = (request) => void request.socket.destroy()
    const { judge } = verifierOf(server, { algorithms: ['ES256'] })
    expect(await judge(signJws({ alg: 'none' }, { sub: '42' }, () => Buffer.of()))).toBe('token_signature')
    expect(await judge(signJws({ alg: 'HS256' }, { sub: '42' }, hmac(256, secret)))).toBe('token_signature')
    expect(server.requests).toEqual([])
  })

  test('closing ends a fetch that hangs, without a word in the log', async () => {
    await using server = await startIssuer()
    server.answer = hanging().listener
    const verify = verifierOf(server)
    verify.start()
    await server.asked(1)
    const waiting = verify.judge(known.sign())
    verify.close()
    expect(await waiting).toBe('unavailable')
    expect(verify.failures).toEqual([])
  })
})

describe('what is no key set is not taken, and what was there before stays', () => {
  const { listener: silent } = hanging()
  const big = Buffer.alloc(10_000_000, ' ')
  test.each<[string, TestIssuer['answer'], RegExp]>([
    ['silence', silent, /abort|timeout/],
    ['a character at a time', dripping, /abort|timeout/],
    ['ten megabytes', (_, response) => void response.end(big), /more than 262144 bytes/],
    ['ten megabytes, compressed', (_, response) => void response.setHeader('content-encoding', 'gzip').end(gzipSync(big)), /more than 262144 bytes/],
    ['a redirect', (_, response) => void response.writeHead(302, { location: '/elsewhere' }).end(), /redirect/],
    ['a permanent redirect to another host', (_, response) => void response.writeHead(308, { location: 'http://localhost:9/' }).end(), /redirect/],
    ['a key set with the status 500', json({ keys: [later.jwk] }, 500), /status 500/],
    ['a page', (_, response) => void response.end('<!doctype html><title>Log in</title>'), /not JSON/],
    ['half of it', (_, response) => void response.end(JSON.stringify({ keys: [later.jwk] }).slice(0, -5)), /not JSON/],
    ['a list', json([later.jwk]), /list of keys/],
    ['null', json(null), /list of keys/],
    ['keys by name', json({ keys: { later: later.jwk } }), /list of keys/],
    ['a hundred and one keys', json({ keys: Array.from({ length: 101 }, () => later.jwk) }), /101 keys/],
    [
      'a line that breaks',
      (_, response) => void response.writeHead(200, { 'content-length': '99' }).write('{', () => response.destroy()),
      /cannot be fetched/,
    ],
  ])('%s', async (_, answer, reason) => {
    await using server = await startIssuer(known)
    // Where time does not decide, a slow machine gets enough of it.
    const timeoutMs = reason.source.includes('timeout') ? 1000 : 20_000
    const { judge, clock, failures } = verifierOf(server, { timing: { timeoutMs } })
    expect(await judge(known.sign())).toEqual(accepted)
    server.answer = answer
    clock.seconds += 30
    expect(await judge(later.sign())).toBe('token_signature')
    expect(failures).toEqual([expect.stringMatching(reason)])
    expect(await judge(known.sign())).toEqual(accepted)
    expect(server.requests).toEqual(['/jwks', '/jwks'])
  })

  test('an issuer that takes back all of its keys is taken at its word, and is not ready', async () => {
    await using server = await startIssuer(known)
    const { judge, clock, checks } = verifierOf(server)
    expect(await judge(known.sign())).toEqual(accepted)
    server.publish()
    clock.seconds += 30
    expect(await judge(later.sign())).toBe('unavailable')
    expect(await judge(known.sign())).toBe('unavailable')
    expect(checks()).toEqual([{ name: 'keys:login', failure: expect.stringContaining('publishes no key') }])
  })
})

describe('of a key set', () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const strong = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const rsaJwk = strong.publicKey.export({ format: 'jwk' })
  const published = async (jwks: readonly unknown[], token: string) => {
    await using server = await startIssuer()
    server.answer = json({ keys: [later.jwk, ...jwks] })
    return await verifierOf(server).judge(token)
  }

  test.each<[string, object, string]>([
    ['a key for encryption', { ...known.jwk, use: 'enc' }, known.sign()],
    ['a key for other operations', { ...known.jwk, key_ops: ['sign'] }, known.sign()],
    ['a key for another algorithm', { ...known.jwk, alg: 'ES384' }, known.sign()],
    ['a key with its private half', { ...known.jwk, d: known.privateKey.export({ format: 'jwk' }).d }, known.sign()],
    ['a point that is not on the curve', { ...known.jwk, y: later.jwk.y }, known.sign()],
    [
      'a secret',
      { kty: 'oct', kid: 'known', k: Buffer.from(secret).toString('base64url') },
      signJws({ alg: 'HS256', kid: 'known' }, { sub: '42', exp: now + 60 }, hmac(256, secret)),
    ],
    [
      'a short RSA key',
      { ...weak.publicKey.export({ format: 'jwk' }), kid: 'known' },
      signJws({ alg: 'RS256', kid: 'known' }, { sub: '42', exp: now + 60 }, rsa(256, weak.privateKey)),
    ],
    [
      'an RSA key with the exponent 1, with which everybody can sign',
      { ...rsaJwk, e: 'AQ', kid: 'known' },
      signJws({ alg: 'RS256', kid: 'known' }, { sub: '42', exp: now + 60 }, paddedHash),
    ],
  ])('%s is passed over', async (_, jwk, token) => {
    expect(await published([jwk], token)).toBe('token_signature')
  })

  test('a key is used with the algorithm that it names and no other of its kind', async () => {
    const sign = (alg: 'RS256' | 'RS512') =>
      signJws({ alg, kid: 'rsa' }, { sub: '42', exp: now + 60 }, rsa(alg === 'RS256' ? 256 : 512, strong.privateKey))
    expect(await published([{ ...rsaJwk, kid: 'rsa', alg: 'RS256' }], sign('RS256'))).toEqual(accepted)
    expect(await published([{ ...rsaJwk, kid: 'rsa', alg: 'RS256' }], sign('RS512'))).toBe('token_signature')
    expect(await published([{ ...rsaJwk, kid: 'rsa' }], sign('RS512'))).toEqual(accepted)
  })

  test('two keys of one name are both tried, and what is nonsense is passed over', async () => {
    const twin = createKey('known')
    expect(await published([twin.jwk, null, 7, {}, { kty: 'RSA' }, { kty: 'OKP', crv: 'X25519', x: 'AA' }, known.jwk], known.sign())).toEqual(
      accepted,
    )
  })

  test('a token that names no key is tried with those of its kind; one that names another key of the set is not', async () => {
    expect(await published([known.jwk], known.sign({}, { kid: undefined }))).toEqual(accepted)
    expect(await published([known.jwk], known.sign({}, { kid: 7 }))).toEqual(accepted)
    expect(await published([known.jwk], known.sign({}, { kid: 'later' }))).toBe('token_signature')
  })

  test('no more than twenty keys are tried for one token', async () => {
    const others = Array.from({ length: 19 }, (_, index) => createKey(`other-${index}`).jwk)
    expect(await published(others, known.sign({}, { kid: undefined }))).toBe('token_signature')
    expect(await published([...others.slice(1), known.jwk], known.sign({}, { kid: undefined }))).toEqual(accepted)
    expect(await published([...others, known.jwk], known.sign({}, { kid: undefined }))).toBe('token_signature')
    expect(await published([...others, known.jwk], known.sign())).toEqual(accepted)
  })
})

/** What a signature with the exponent 1 is: the padded hash itself (RFC 8017 9.2). */
function paddedHash(input: string): Buffer {
  const digest = Buffer.concat([Buffer.from('3031300d060960864801650304020105000420', 'hex'), createHash('sha256').update(input).digest()])
  return Buffer.concat([Buffer.of(0, 1), Buffer.alloc(256 - 3 - digest.length, 0xff), Buffer.of(0), digest])
}
