import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import jwt from 'jsonwebtoken'
import { afterAll, describe, expect, test } from 'vitest'
import { apiKey, login, secret, startTestBridge, testEnvironment } from './support/bridge.ts'
import { runSidecast, startSidecast } from './support/sidecast.ts'

const folder = await mkdtemp(join(tmpdir(), 'sidecast-cli-'))
afterAll(() => rm(folder, { recursive: true }))

const sidecast = (args: readonly string[], env: Readonly<Record<string, string>> = {}, input = '') => runSidecast(args, env, { input, cwd: folder })

const environment = testEnvironment(folder)

/** An ingress that answers as it is told and remembers what it got. */
async function startIngress(answer: (attempt: number, response: ServerResponse) => void) {
  const bodies: string[] = []
  const server = createServer(async (request: IncomingMessage, response) => {
    bodies.push(await text(request))
    answer(bodies.length, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    bodies,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

describe('sidecast', () => {
  test('without a word it teaches, and says that the call was wrong', async () => {
    const { exitCode, out, error } = await sidecast([])
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' })
    expect(error).toContain('sidecast serve')
  })

  test.each([['--help'], ['help'], ['-h']])('%s lists the commands', async (word) => {
    const { exitCode, out, error } = await sidecast([word])
    expect({ exitCode, error }).toEqual({ exitCode: 0, error: '' })
    for (const name of ['serve', 'token', 'verify-token', 'publish', 'dead-letters', 'check-config', 'doctor'])
      expect(out).toContain(`sidecast ${name} `)
  })

  test.each(['serve', 'token', 'verify-token', 'publish', 'dead-letters', 'check-config', 'doctor'])(
    'help %s says how it is called, without any configuration',
    async (name) => {
      const [asked, option] = await Promise.all([sidecast(['help', name]), sidecast([name, '--help'])])
      expect(asked.out).toMatch(new RegExp(`^sidecast ${name}`))
      expect(option).toEqual(asked)
      expect(asked.exitCode).toBe(0)
    },
  )

  test('--version is that of the package', async () => {
    const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
    expect(await sidecast(['--version'])).toEqual({ exitCode: 0, out: `${version}\n`, error: '' })
  })

  test('a word that is no command is refused, with what was probably meant', async () => {
    expect(await sidecast(['tokne'])).toEqual({ exitCode: 2, out: '', error: 'sidecast: unknown command "tokne": did you mean token?\n' })
    const nurse = await sidecast(['help', 'nurse'])
    expect(nurse.exitCode).toBe(2)
    expect(nurse.error).toContain('unknown command "nurse": there are serve, token, verify-token, publish, dead-letters, check-config, doctor')
  })
})

describe('check-config', () => {
  test('a valid configuration is called valid, with notes on what is closed', async () => {
    const { exitCode, out, error } = await sidecast(['check-config'], { SIDECAST_JWT_SECRET: secret })
    expect({ exitCode, out }).toEqual({ exitCode: 0, out: 'The configuration is valid.\n' })
    expect(error).toContain('SIDECAST_ALLOWED_ORIGINS is not set: no web page can connect')
    expect(error).toContain('SIDECAST_API_KEYS is not set: nobody can publish')
  })

  test.each([
    [`"${secret}"`, 'SIDECAST_JWT_SECRET stands in quotes'],
    [`base64:${secret}`, 'SIDECAST_JWT_SECRET begins with base64:'],
  ])('a secret that was probably meant otherwise gets a note', async (written, note) => {
    const { exitCode, error } = await sidecast(['check-config'], { ...environment, SIDECAST_JWT_SECRET: written })
    expect(exitCode).toBe(0)
    expect(error).toContain(note)
    expect(error).not.toContain(secret)
  })

  test('--print shows what is in force, from file, environment and flags, without secrets', async () => {
    await writeFile(join(folder, 'sidecast.yaml'), 'retention: { age: 15m }\n')
    const { exitCode, out } = await sidecast(['check-config', '--print', '--config', 'sidecast.yaml', '--log-level', 'debug'], environment)
    expect(exitCode).toBe(0)
    expect(out).toContain('SIDECAST_RETENTION_AGE=15m  # sidecast.yaml:retention.age\n')
    expect(out).toContain('SIDECAST_LOG_LEVEL=debug  # flag --log-level\n')
    expect(out).toContain('SIDECAST_API_KEYS=test:********:publish+read+admin  # environment\n')
    expect(out).not.toContain(secret)
    expect(out).not.toContain(apiKey)
  })

  test('everything that is wrong is told at once, on standard error, with exit code 2', async () => {
    const { exitCode, out, error } = await sidecast(['check-config', '--jwt-usr-claim', 'x'], { ...environment, SIDECAST_PUBLIC_PORT: 'x' })
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' })
    expect(error.split('\n')).toEqual([
      'sidecast: the configuration is not valid:',
      '  SIDECAST_JWT_USR_CLAIM (flag --jwt-usr-claim): is not known: did you mean --jwt-user-claim?',
      '  SIDECAST_PUBLIC_PORT (environment): must be an integer from 0 to 65535',
      '',
    ])
  })

  test.each([
    [['check-config', 'word'], '"word" is one word too many'],
    [['check-config', '--print=no'], '--print takes no value'],
  ])('%j is refused', async (args, problem) => {
    const { exitCode, error } = await sidecast(args, environment)
    expect({ exitCode, error }).toEqual({ exitCode: 2, error: `sidecast: ${problem}\n` })
  })
})

describe('token', () => {
  test('the token is one that the application could have issued, for an hour', async () => {
    const env = {
      ...environment,
      SIDECAST_JWT_ISSUER: 'shop',
      SIDECAST_JWT_AUDIENCE: 'web',
      SIDECAST_JWT_ALGORITHMS: 'HS512',
      SIDECAST_JWT_USER_CLAIM: 'data.user.id,sub',
    }
    const { exitCode, out, error } = await sidecast(['token', '--user', '42', '--rooms', 'news,order:*'], env)
    expect({ exitCode, error }).toEqual({ exitCode: 0, error: '' })
    const claims = jwt.verify(out.trim(), secret, { algorithms: ['HS512'] }) as jwt.JwtPayload
    expect(claims).toMatchObject({ iss: 'shop', aud: 'web', data: { user: { id: '42' } }, rooms: ['news', 'order:*'] })
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(3600)
    expect(await sidecast(['verify-token', out.trim()], env)).toMatchObject({ exitCode: 0 })
  })

  test('--ttl says how long it is valid', async () => {
    const { out } = await sidecast(['token', '--user=42', '--ttl=5m'], environment)
    const claims = jwt.verify(out.trim(), secret) as jwt.JwtPayload
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(300)
  })

  test.each([
    [['token'], '--user is missing'],
    [['token', '--user'], '--user has no value'],
    [['token', '--user', '1', '--user', '2'], '--user is given twice'],
    [['token', '--user', '1', 'word'], '"word" is one word too many'],
    [['token', '--user', '\u200b'], 'the claim sub is not usable as a user'],
    [['token', '--user', '1', '--rooms', 'a*'], 'the claim rooms holds "a*"'],
    [['token', '--user', '1', '--ttl', '5'], '--ttl must be a duration'],
    [['token', '--usr', '1'], '--usr is not an option here: did you mean --user?'],
    [['token', '--user', '1', '--room=news'], '--room is not an option here: did you mean --rooms?'],
    [['token', '--user', '1', '--retention', '1m'], 'SIDECAST_RETENTION (flag --retention): is not known'],
  ])('%j is refused', async (args, problem) => {
    const { exitCode, out, error } = await sidecast(args, environment)
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' })
    expect(error).toContain(problem)
  })

  test('a public key cannot sign', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const { exitCode, error } = await sidecast(['token', '--user', '42'], { SIDECAST_JWT_PUBLIC_KEY: pem })
    expect(exitCode).toBe(2)
    expect(error).toContain('a public key cannot sign')
  })
})

describe('verify-token', () => {
  /** Which check ended how. */
  const outcomes = (out: string) =>
    Object.fromEntries([...out.matchAll(/^ {2}(\S.*?) {2,}(ok|REFUSED|not checked)/gm)].map(([, title, outcome]) => [title, outcome]))
  const fine = Object.fromEntries(
    ['form', 'issuer', 'keys', 'signature', 'dates', 'expiry', 'not before', 'life', 'audience', 'party', 'type', 'required', 'claims'].map(
      (title) => [title, 'ok'],
    ),
  )

  test('of a good token it says who it is, the rooms and how long', async () => {
    const { exitCode, out } = await sidecast(['verify-token', login('42', { rooms: ['news', 'order:*'], iss: 'shop' })], environment)
    expect(exitCode).toBe(0)
    expect(outcomes(out)).toEqual(fine)
    expect(out).toMatch(/^ {2}iss +"shop"$/m)
    expect(out).toContain('revoked     not looked at here')
    expect(out).toMatch(
      /^Accepted\n {2}user +"42"\n {2}rooms +user:42, news at connect\n +user:42 {2}\(always\)\n +news {2}\(the claim rooms\)\n {2}may join +order:\*, user:42, news\n {2}expires +\S+Z \(in (59m|1h)\)$/m,
    )
  })

  test('the token may come from standard input', async () => {
    expect(await sidecast(['verify-token', '-'], environment, `${login('42')}\n`)).toMatchObject({ exitCode: 0 })
  })

  test('the word Bearer is refused, as the bridge does', async () => {
    const { exitCode, out } = await sidecast(['verify-token', '-'], environment, `Bearer ${login('42')}\n`)
    expect(exitCode).toBe(1)
    expect(out).toContain('-> leave out the word Bearer')
  })

  const base64 = Buffer.from(secret).toString('base64')
  const bytes = randomBytes(48)
  test.each<[string, string, Buffer | string, Readonly<Record<string, string>>]>([
    ['decoded from base64, as jjwt does: set SIDECAST_JWT_SECRET_ENCODING=base64', base64, secret, {}],
    ['decoded from hex: set SIDECAST_JWT_SECRET_ENCODING=hex', bytes.toString('hex'), bytes, {}],
    ['leave out SIDECAST_JWT_SECRET_ENCODING=base64', base64, base64, { SIDECAST_JWT_SECRET_ENCODING: 'base64' }],
    ['and a line end after it', secret, `${secret}\n`, {}],
    ['without the line end', `${secret}\n`, secret, {}],
    ['without the quotes', `"${secret}"`, secret, {}],
    ['without the base64: before it', `base64:${base64}`, secret, {}],
  ])('a signature by another reading of the secret is told: %s', async (cure, configured, used, settings) => {
    const env = { ...environment, ...settings, SIDECAST_JWT_SECRET: configured }
    const { exitCode, out } = await sidecast(['verify-token', jwt.sign({ sub: '42', exp: 4e9 }, used)], env)
    expect(exitCode).toBe(1)
    expect(out).toMatch(new RegExp(`-> it is signed with .*${cure}`))
  })

  test.each([
    ['{"sub":"42","exp":4000000000,"rooms":"news"}', '-> issue rooms as a list'],
    ['{"sub":"42","exp":"4000000000"}', '-> issue exp as a number'],
    ['{"sub":"42","exp":4000000000000}', '-> divide exp by 1000'],
    ['{"sub":"42","exp":4000000000,"rooms":["order*"]}', '-> a * stands for a whole segment'],
    ['{"sub":"42"}', '-> give the tokens an exp'],
    ['{"id":"42","exp":4000000000}', '-> name the claim that holds the user: SIDECAST_JWT_USER_CLAIM'],
  ])('the cure is for what is wrong with the claims %s', async (claims, cure) => {
    expect((await sidecast(['verify-token', jwt.sign(claims, secret)], environment)).out).toContain(cure)
  })

  test.each([
    ['form', 'token_malformed', 'abc', { form: 'REFUSED', signature: 'not checked', claims: 'not checked' }],
    ['signature', 'token_signature', jwt.sign({ sub: '42', exp: 4e9 }, randomBytes(32)), { form: 'ok', signature: 'REFUSED', expiry: 'not checked' }],
    ['expiry', 'token_expired', login('42', { exp: 1000 }), { ...fine, expiry: 'REFUSED' }],
    ['not before', 'token_not_active', login('42', { nbf: 4e9, exp: 5e9 }), { ...fine, 'not before': 'REFUSED' }],
    ['audience', 'token_audience', login('42', { aud: 'sidecast:room' }), { audience: 'REFUSED', claims: 'not checked' }],
    ['claims', 'token_claims', jwt.sign({ username: 'a', exp: 4e9 }, secret), { ...fine, claims: 'REFUSED' }],
    ['dates', 'token_claims', jwt.sign({ sub: '42' }, secret), { ...fine, dates: 'REFUSED' }],
    [
      'dates',
      'token_claims',
      jwt.sign('{"sub":"42","exp":"soon"}', secret),
      { signature: 'ok', dates: 'REFUSED', expiry: 'not checked', claims: 'not checked' },
    ],
  ])('a token whose %s is wrong is refused for it (%s), with the cure', async (_check, code, token, expected) => {
    const { exitCode, out } = await sidecast(['verify-token', token], environment)
    expect(exitCode).toBe(1)
    expect(outcomes(out)).toMatchObject(expected)
    expect(out).toContain(`Refused: ${code}\n`)
    expect(out).toMatch(/^ +-> \w/m)
  })

  test('of a token that is well signed, all that is wrong is told', async () => {
    const env = { ...environment, SIDECAST_JWT_ISSUER: 'shop', SIDECAST_JWT_AUDIENCE: 'web' }
    const { exitCode, out } = await sidecast(['verify-token', login('42', { iss: 'blog', rooms: 'news', exp: 1000 })], env)
    expect(exitCode).toBe(1)
    expect(outcomes(out)).toEqual({ ...fine, expiry: 'REFUSED', issuer: 'REFUSED', audience: 'REFUSED', claims: 'REFUSED' })
    expect(out).toContain('the issuer (iss) is "blog", not "shop"')
  })

  test('what a token says cannot steer the terminal', async () => {
    const { out } = await sidecast(['verify-token', login('42', { iss: '\u001b[2J\u009b2J\u202e' })], environment)
    for (const character of ['\u001b', '\u009b', '\u202e']) expect(out).not.toContain(character)
    expect(out).toContain('2J')
  })

  test('a token is needed', async () => {
    const { exitCode, error } = await sidecast(['verify-token'], environment)
    expect(exitCode).toBe(2)
    expect(error).toContain('TOKEN is missing')
  })
})

describe('publish', () => {
  test('the event is stored, and the answer of the bridge is printed', async () => {
    await using bridge = await startTestBridge()
    const env = { SIDECAST_URL: bridge.privateUrl, SIDECAST_API_KEY: apiKey }
    const { exitCode, out, error } = await sidecast(
      ['publish', 'order.updated', '--user', '42', '--user', 'a,b', '--data', '-'],
      env,
      '{"id":9007199254740993}',
    )
    expect({ exitCode, error }).toEqual({ exitCode: 0, error: '' })
    expect(JSON.parse(out)).toMatchObject({ duplicate: false, matched: 0 })
    const { body } = await bridge.call('GET', '/v1/users/a%2Cb/events')
    expect(JSON.stringify(body)).toContain('order.updated')
  })

  test('all of its options reach the bridge', async () => {
    await using ingress = await startIngress((_attempt, response) => response.writeHead(202).end('{}'))
    const options = ['--room', 'news', '--session', 's1', '--except-user', '7', '--id', 'i1', '--volatile', '--data', '{"n":9007199254740993}']
    expect(await sidecast(['publish', 'a', ...options, '--url', ingress.url, '--api-key', apiKey])).toEqual({ exitCode: 0, out: '{}\n', error: '' })
    expect(ingress.bodies).toEqual([
      '{"event":"a","data":{"n":9007199254740993},"to":{"rooms":["news"],"sessions":["s1"]},"except":{"users":["7"]},"id":"i1","volatile":true}',
    ])
  })

  test('a dry run stores nothing', async () => {
    await using bridge = await startTestBridge()
    const { exitCode, out } = await sidecast(['publish', 'a', '--all', '--dry-run', '--url', bridge.privateUrl, '--api-key', apiKey])
    expect(exitCode).toBe(0)
    expect(JSON.parse(out)).toEqual({ matched: 0, users: 0, sessions: 0 })
  })

  test('the same id is published once', async () => {
    await using bridge = await startTestBridge()
    const publish = () => sidecast(['publish', 'a', '--all', '--id', 'i1', '--url', bridge.privateUrl, '--api-key', apiKey])
    const first = JSON.parse((await publish()).out)
    expect(JSON.parse((await publish()).out)).toMatchObject({ offset: first.offset, duplicate: true })
  })

  test('a busy bridge is asked again, under the same id', async () => {
    await using ingress = await startIngress((attempt, response) => {
      if (attempt < 3) response.writeHead(503, { 'retry-after': '0' }).end('{"code":"log_unavailable"}')
      else response.writeHead(202).end('{"matched":1}')
    })
    const { exitCode, out } = await sidecast(['publish', 'a', '--all', '--url', ingress.url, '--api-key', apiKey])
    expect({ exitCode, out }).toEqual({ exitCode: 0, out: '{"matched":1}\n' })
    expect(new Set(ingress.bodies.map((body) => JSON.parse(body).id)).size).toBe(1)
    expect(ingress.bodies).toHaveLength(3)
  })

  test('when no answer comes, the id to repeat it with is told', async () => {
    await using ingress = await startIngress((_attempt, response) => response.destroy())
    const { exitCode, error } = await sidecast(['publish', 'a', '--all', '--id', 'i1', '--url', ingress.url, '--api-key', apiKey])
    expect(exitCode).toBe(1)
    expect(error).toContain(`no answer from ${ingress.url}`)
    expect(error).toContain('Repeat it with --id i1')
  })

  test('where nothing listens, that is said', async () => {
    const { url } = await startIngress(() => {}).then(async (ingress) => {
      await ingress[Symbol.asyncDispose]()
      return ingress
    })
    const { exitCode, out, error } = await sidecast(['publish', 'a', '--all', '--url', url, '--api-key', apiKey])
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: '' })
    expect(error).toContain(`nothing listens at ${url}: is the bridge running`)
  })

  test('each refusal of a bridge is told with what to do', async () => {
    const reader = randomBytes(32).toString('hex')
    await using bridge = await startTestBridge({ API_KEYS: `reader:${reader}:read,test:${apiKey}` })
    const publish = async (event: string, key: string, url = bridge.privateUrl) => {
      const { exitCode, error } = await sidecast(['publish', event, '--all', '--url', url, '--api-key', key])
      expect(exitCode).toBe(1)
      return error
    }
    expect(await publish('a', 'wrong')).toContain('the bridge does not accept the API key')
    expect(await publish('a', reader)).toContain('the API key may not publish')
    expect(await publish('a b', apiKey)).toMatch(/the bridge refuses the event \(invalid_event\):\n {2}\/event must be /)
    expect(await publish('a', apiKey, bridge.publicUrl)).toContain('The private listener is meant')
  })

  test('what is no bridge gets no second try', async () => {
    await using other = await startIngress((_attempt, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end('<html>'))
    const { exitCode, error } = await sidecast(['publish', 'a', '--all', '--url', other.url, '--api-key', apiKey])
    expect(exitCode).toBe(1)
    expect(error).toContain(`what answers at ${other.url} (status 302) is not a bridge's private listener`)
    expect(other.bodies).toHaveLength(1)
  })

  test.each([
    [['publish'], 'EVENT is missing'],
    [['publish', 'a'], 'nobody is named'],
    [['publish', 'a', '--all'], 'an API key is needed'],
    [['publish', 'a', 'b', '--all'], '"b" is one word too many'],
    [['publish', 'a', '--usr', '42'], '--usr is not an option here: did you mean --user?'],
    [['publish', 'a', '--hlep'], '--hlep is not an option here: did you mean --help?'],
    [['publish', 'a', '--user', '42', '--all'], '--all is for everybody, so that --user, --room and --session say nothing beside it'],
    [['publish', 'a', '--jwt-secret', 'x', '--all'], '--jwt-secret is not an option here'],
    [['publish', 'a', '--all', '--data', '{x}'], '--data is not JSON'],
    [['publish', 'a', '--all', '--url', 'localhost:3001'], '"localhost:3001" is not the address of a bridge'],
  ])('%j is refused', async (args, problem) => {
    const { exitCode, out, error } = await sidecast(args)
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' })
    expect(error).toContain(problem)
  })
})

describe('serve', () => {
  test('it runs until it is told to stop', async () => {
    const child = startSidecast(['serve', '--data-dir', 'data', '--log-level', 'info'], environment, folder)
    child.stdin.end()
    for await (const chunk of child.stdout) if (String(chunk).includes('"ready"')) break
    child.kill('SIGTERM')
    await once(child, 'close')
    expect(child.exitCode).toBe(0)
  })

  test('a wrong configuration does not start', async () => {
    const { exitCode, error } = await sidecast(['serve'], { SIDECAST_JWT_SECRET: 'secret' })
    expect(exitCode).toBe(2)
    expect(error).toContain('SIDECAST_JWT_SECRET (environment): has 6 bytes')
  })
})
