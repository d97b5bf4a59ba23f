import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { authorizeSecret, startPhpApplication } from './backend/php-application.ts'
import { apiKey, startTestBridge, testEnvironment } from './support/bridge.ts'
import { runSidecast } from './support/sidecast.ts'
import { startWorkerBridge } from './workers/worker-bridge.ts'

const origin = 'https://shop.example'

/** What it says of a bridge, line by line without the columns. */
async function examine(
  bridge: { readonly directory: string; readonly publicUrl: string; readonly privateUrl: string },
  args: readonly string[] = [],
  settings = {},
) {
  const env = { ...testEnvironment(bridge.directory, { ALLOWED_ORIGINS: origin, ...settings }), SIDECAST_API_KEY: apiKey }
  const { exitCode, out, error } = await runSidecast(['doctor', '--url', bridge.publicUrl, '--private-url', bridge.privateUrl, ...args], env)
  return { exitCode, out: out.replaceAll(/ +/g, ' '), error }
}

test('of a bridge that is well everything is looked at, up to an event that arrives', async () => {
  await using bridge = await startTestBridge({ ALLOWED_ORIGINS: origin })
  const { exitCode, out, error } = await examine(bridge)
  expect({ exitCode, error, out }).toMatchObject({ exitCode: 0, error: '' })
  for (const line of [
    'ok configuration valid',
    'ok files ',
    `ok data folder ${bridge.directory}: writable`,
    'ok keys login: 1 from the configuration',
    'ok bridge ready at',
    'ok clock that of the bridge and this one agree',
    `ok origins pages of ${origin} may connect`,
    'ok origins others are refused',
    'ok sticky 8 requests',
    'ok canary a login connects over WebSocket',
    'ok canary an event that is published reaches it',
    'Nothing is wrong.',
  ])
    expect(out).toContain(line)
})

test('a bridge with workers is sticky by itself', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', ALLOWED_ORIGINS: origin })
  const { out } = await examine(bridge)
  expect(out).toContain('ok sticky 8 requests')
  expect(out).toContain('Nothing is wrong.')
})

test('without a bridge the rest is looked at all the same', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-doctor-'))
  const { exitCode, out } = await runSidecast(
    ['doctor'],
    testEnvironment(directory, { ALLOWED_ORIGINS: origin, PUBLIC_PORT: '2', PRIVATE_PORT: '1' }),
  )
  await rm(directory, { recursive: true })
  expect({ exitCode, out }).toMatchObject({ exitCode: 0 })
  expect(out.replaceAll(/ +/g, ' ')).toContain('skipped bridge none answers at http://127.0.0.1:1')
})

test('at an address that is given somebody must answer; where pages connect is tried also without the private listener', async () => {
  await using bridge = await startTestBridge({ ALLOWED_ORIGINS: origin })
  const nobody = await examine({ ...bridge, publicUrl: 'http://127.0.0.1:1', privateUrl: 'http://127.0.0.1:1' })
  expect(nobody.exitCode).toBe(1)
  for (const line of ['problem bridge none answers at http://127.0.0.1:1', 'problem origins', 'problem sticky', 'problem canary'])
    expect(nobody.out).toContain(line)
  const outside = await examine({ ...bridge, privateUrl: 'http://127.0.0.1:1' })
  expect(outside.exitCode).toBe(1)
  for (const line of ['problem bridge', 'ok origins others', 'ok sticky', 'ok canary a login connects', 'skipped canary nothing is published'])
    expect(outside.out).toContain(line)
})

test('what is wrong is told with its cure: page, key, secret', async () => {
  await using bridge = await startTestBridge({ ALLOWED_ORIGINS: origin })
  const page = await examine(bridge, ['--origin', 'https://other.example', '--api-key', 'x'.repeat(40)])
  expect(page.exitCode).toBe(1)
  expect(page.out).toMatch(/problem origins pages of https:\/\/other\.example are refused .*\n +-> write it into SIDECAST_ALLOWED_ORIGINS/)
  expect(page.out).toMatch(/problem canary publishing is refused \(401\).*\n +-> give a key/)
  expect(page.out).toContain('2 things are wrong.')
  const key = await examine(bridge, [], { JWT_SECRET: 'another-s3cret-that-is-l0ng-enough-for-HS256' })
  expect(key.out).toMatch(/problem canary no session over WebSocket at .*: refused: token_signature/)
})

test('keys that cannot be fetched, an application and a broker that are not there are problems', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-doctor-'))
  const settings = {
    JWT_SECRET: '',
    JWT_JWKS_URL: 'http://127.0.0.1:1/jwks',
    AMQP_URL: 'amqp://127.0.0.1:1',
    AUTHORIZE_ROOMS_URL: 'http://127.0.0.1:1/rooms',
    AUTHORIZE_SECRET: `whsec_${randomBytes(32).toString('base64')}`,
  }
  const { exitCode, out } = await examine({ directory, publicUrl: 'http://127.0.0.1:1', privateUrl: 'http://127.0.0.1:1' }, [], settings)
  await rm(directory, { recursive: true })
  expect(exitCode).toBe(1)
  for (const line of ['problem keys login: ', 'problem application http://127.0.0.1:1/rooms', 'problem broker no connection'])
    expect(out).toContain(line)
})

test('an application is asked as the bridge asks it, about what nobody has: no is well, everything that is no answer is a problem', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-doctor-'))
  await using application = await startPhpApplication()
  const { url } = application
  const ask = async (connect: string, rooms: string, secret = authorizeSecret) => {
    const settings = { AUTHORIZE_CONNECT_URL: `${url}${connect}`, AUTHORIZE_ROOMS_URL: `${url}${rooms}`, AUTHORIZE_SECRET: secret }
    const env = testEnvironment(directory, { ...settings, PUBLIC_PORT: '2', PRIVATE_PORT: '1' })
    const { exitCode, out } = await runSidecast(['doctor'], env)
    return {
      exitCode,
      lines: out
        .replaceAll(/ +/g, ' ')
        .split('\n')
        .filter((line) => line.includes(url)),
    }
  }
  const says = (status: number, answer: string): string => `/says?status=${status}&json=${answer}`

  expect(await ask('/authorize', '/authorize')).toEqual({
    exitCode: 0,
    lines: [
      `ok application ${url}/authorize: asked about a token that nobody has, it says no`,
      `ok application ${url}/authorize: asked about the user sidecast-doctor and the room sidecast-doctor, it says no`,
    ],
  })
  const questions = await application.questions()
  expect(questions.map(({ body }) => JSON.parse(body))).toContainEqual({
    user: 'sidecast-doctor',
    room: 'sidecast-doctor',
    session: 'sidecast-doctor',
  })

  const { host } = new URL(url)
  for (const [connect, rooms, problems] of [
    [
      '/nothing',
      '/nothing',
      ['SIDECAST_AUTHORIZE_CONNECT_URL', 'SIDECAST_AUTHORIZE_ROOMS_URL'].map((name) => `${name} (${host}) answers 404: is its path right?`),
    ],
    [says(405, '{}'), '/error', ['answers 405: is its path right, and does it take POST?', 'answers 500: its own log says why']],
    [says(200, '{"user":"1"}'), '/html', ['is a login', 'not application/json']],
  ] as const) {
    const { exitCode, lines } = await ask(connect, rooms)
    expect({ exitCode, lines }).toEqual({ exitCode: 1, lines: problems.map((text) => expect.stringContaining(text)) })
    for (const line of lines) expect(line).toMatch(/^problem application /)
  }
  const unsigned = await ask('/authorize', '/authorize', `whsec_${randomBytes(32).toString('base64')}`)
  expect(unsigned.lines).toEqual(
    [1, 2].map(() => expect.stringContaining('answers 400: does the application have the same SIDECAST_AUTHORIZE_SECRET')),
  )
  await rm(directory, { recursive: true })
})

test('a data folder that cannot be made is a problem', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-doctor-'))
  // Nobody can make a folder in a file, not even root.
  const file = join(directory, 'file')
  await writeFile(file, '')
  const { out } = await examine({ directory: join(file, 'data'), publicUrl: 'http://127.0.0.1:1', privateUrl: 'http://127.0.0.1:1' })
  await rm(directory, { recursive: true })
  expect(out).toContain(`problem data folder ${file}`)
})

test('a load balancer that sends each request to another bridge is found out', async () => {
  await using one = await startTestBridge({ ALLOWED_ORIGINS: origin })
  await using two = await startTestBridge({ ALLOWED_ORIGINS: origin })
  let turn = 0
  const balancer = createServer((incoming, answer) => {
    const { publicUrl } = [one, two][turn++ % 2] ?? one
    const outgoing = request(new URL(incoming.url ?? '', publicUrl), { method: incoming.method, headers: incoming.headers }, (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers)
      response.pipe(answer)
    })
    incoming.pipe(outgoing)
  })
  await once(balancer.listen(0, '127.0.0.1'), 'listening')
  const publicUrl = `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`
  const { exitCode, out } = await examine({ ...one, publicUrl })
  balancer.closeAllConnections()
  await new Promise((resolve) => balancer.close(resolve))
  expect(exitCode).toBe(1)
  expect(out).toMatch(/problem sticky request \d of one connection was answered 400 .*\n +-> let the load balancer keep a client at one node/)
})
