import { generateKeyPairSync } from 'node:crypto'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { parseJwksFile } from '../../src/auth/jwks.ts'
import { parsePublicKeys, parseSecret } from '../../src/auth/keys.ts'
import { answerOf, eddsa, hmac, issuer, now, secret, signJws, verifier } from './sign.ts'
import { createKey } from './test-issuer.ts'

const accepted = expect.objectContaining({ user: '42' })
const old = createKey('old')
const young = createKey('young')
const textOf = (...keys: readonly { readonly jwk: object }[]): string => JSON.stringify({ keys: keys.map(({ jwk }) => jwk) })

/** A verifier whose keys are in a file that is looked at all the time. */
async function watched({ text = textOf(old), name = 'keys.json', parse = parseJwksFile } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'sidecast-keys-'))
  const path = join(folder, name)
  await mkdir(join(path, '..'), { recursive: true })
  await writeFile(path, text)
  const failures: string[] = []
  const verify = verifier([issuer({ keys: [{ kind: 'file', path, parse }] })], {
    timing: { pollMs: 1 },
    onFailure: (error) => void failures.push(String(error)),
  })
  verify.start()
  const judge = (token: string) => answerOf(() => verify.verify(token))
  return {
    folder,
    path,
    failures,
    judge,
    becomes: (token: string, answer: unknown) => vi.waitFor(async () => expect(await judge(token)).toEqual(answer), { timeout: 60_000, interval: 1 }),
    async [Symbol.asyncDispose]() {
      verify.close()
      await rm(folder, { recursive: true })
    },
  }
}

test('a key file that is written again counts without a restart', async () => {
  await using keys = await watched()
  expect(await keys.judge(old.sign())).toEqual(accepted)
  await writeFile(keys.path, textOf(young))
  await keys.becomes(young.sign(), accepted)
  expect(await keys.judge(old.sign())).toBe('token_signature')
  expect(keys.failures).toEqual([])
})

test('so does one that is replaced by another of its name', async () => {
  await using keys = await watched()
  await writeFile(`${keys.path}.new`, textOf(young))
  await rename(`${keys.path}.new`, keys.path)
  await keys.becomes(young.sign(), accepted)
})

test('so does one behind a symbolic link to its folder that is swapped, as Kubernetes does it', async () => {
  await using keys = await watched({ name: 'first/keys.json' })
  const mounted = join(keys.folder, 'data')
  await symlink('first', mounted)
  const verify = verifier([issuer({ keys: [{ kind: 'file', path: join(mounted, 'keys.json'), parse: parseJwksFile }] })], { timing: { pollMs: 1 } })
  verify.start()
  await mkdir(join(keys.folder, 'second'))
  await writeFile(join(keys.folder, 'second/keys.json'), textOf(young))
  await symlink('second', `${mounted}.new`)
  await rename(`${mounted}.new`, mounted)
  await vi.waitFor(async () => expect(await verify.verify(young.sign())).toEqual(accepted), { timeout: 60_000, interval: 1 })
  verify.close()
})

test('secrets and PEM keys in files rotate as well', async () => {
  const claims = { sub: '42', exp: now + 60 }
  await using secrets = await watched({ text: [...secret].toReversed().join(''), parse: (text) => [parseSecret(text, 'utf8')] })
  await writeFile(secrets.path, secret)
  await secrets.becomes(signJws({ alg: 'HS256' }, claims, hmac(256, secret)), accepted)

  const pairs = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
  const [first = '', second = ''] = pairs.map(({ publicKey }) => String(publicKey.export({ type: 'spki', format: 'pem' })))
  const [before = '', after = ''] = pairs.map(({ privateKey }) => signJws({ alg: 'EdDSA' }, claims, eddsa(privateKey)))
  await using keys = await watched({ text: first, parse: parsePublicKeys })
  expect(await keys.judge(after)).toBe('token_signature')
  await writeFile(keys.path, first + second)
  await keys.becomes(after, accepted)
  expect(await keys.judge(before)).toEqual(accepted)
})

test('content that is broken, empty or missing is told once, and the last good keys stay in force until it is good again', async () => {
  await using keys = await watched()
  const broken = [
    () => writeFile(keys.path, '{"keys":['),
    () => writeFile(keys.path, ''),
    () => writeFile(keys.path, '{"keys":[]}'),
    () => rm(keys.path),
  ]
  for (const [index, spoil] of broken.entries()) {
    await spoil()
    await vi.waitFor(() => expect(keys.failures).toHaveLength(index + 1), { timeout: 60_000, interval: 1 })
    expect(await keys.judge(old.sign())).toEqual(accepted)
  }
  for (const failure of keys.failures) expect(failure).toMatch(/keys\.json cannot be used, its last good content stays in force: /)
  await writeFile(keys.path, textOf(old, young))
  await keys.becomes(young.sign(), accepted)
  expect(keys.failures).toHaveLength(broken.length)
})

test('a text counts when it is read twice: half of a secret is never one', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const read: string[] = []
    await using keys = await watched({
      text: 'old',
      parse: (text) => {
        read.push(text)
        return [parseSecret(secret, 'utf8')]
      },
    })
    // A poll is over when the next one is due.
    const poll = async () => {
      vi.advanceTimersByTime(1)
      while (vi.getTimerCount() === 0) await setImmediate()
    }
    for (const text of ['half', 'whole', 'whole']) {
      await writeFile(keys.path, text)
      await poll()
    }
    expect(read).toEqual(['old', 'whole'])
  } finally {
    vi.useRealTimers()
  }
})

test('a file that is broken or missing at the start is refused, with its name and the reason', async () => {
  await using keys = await watched()
  const start = (path: string) => () => verifier([issuer({ keys: [{ kind: 'file', path, parse: parseJwksFile }] })])
  expect(start(`${keys.path}.not`)).toThrow(/keys\.json\.not cannot be used: ENOENT/)
  await writeFile(keys.path, textOf())
  expect(start(keys.path)).toThrow(/keys\.json cannot be used: the JWKS has no key that can verify/)
})

test('a JWKS file may hold secrets of 32 bytes, and no shorter ones', async () => {
  const hs = (kid: string, bytes: string) => signJws({ alg: 'HS512', kid }, { sub: '42', exp: now + 60 }, hmac(512, bytes))
  const oct = (kid: string, bytes: string) => ({ jwk: { kty: 'oct', kid, k: Buffer.from(bytes).toString('base64url') } })
  await using keys = await watched({ text: textOf(oct('long', secret), oct('short', secret.slice(0, 31)), old) })
  expect(await keys.judge(hs('long', secret))).toEqual(accepted)
  expect(await keys.judge(hs('short', secret.slice(0, 31)))).toBe('token_signature')
  expect(await keys.judge(old.sign())).toEqual(accepted)
})
