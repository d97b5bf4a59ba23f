import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { apiKey, login, secret, startTestBridge } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { type Outcome, runProgram } from './run-program.ts'
import { startSwallowingProxy } from './swallowing-proxy.ts'

const languages = [
  { language: 'PHP', program: 'php', file: 'examples/php/publish.php' },
  { language: 'Java', program: 'java', file: 'examples/java/Publish.java' },
] as const

// In the order in which the examples publish them; the last one of each is refused and must not be here.
const published = [
  { event: 'order.updated', data: { order: 7, status: 'shipped' } },
  { event: 'order.created', data: { order: 8 } },
  { event: 'order.created', data: { order: 9 } },
]

describe.each(languages)('the $language example', ({ program, file }) => {
  const publish = (url: string, key = apiKey): Promise<Outcome> => runProgram(program, [file, '42'], { SIDECAST_URL: url, SIDECAST_API_KEY: key })

  test('publishes one event and a batch, which reach the user once, and says what is wrong with the third', async () => {
    await using bridge = await startTestBridge()
    await using session = connectSession(bridge.publicUrl, { token: login('42') })
    await using other = connectSession(bridge.publicUrl, { token: login('43') })
    await Promise.all([session.notice('sidecast:ready'), other.notice('sidecast:ready')])

    const { exitCode, output, errors } = await publish(bridge.privateUrl)
    expect(output.match(/published/g)?.length, errors).toBeGreaterThanOrEqual(2)
    expect(errors).toContain('invalid_event')
    expect(errors).toContain('/event')
    expect(exitCode).toBe(1)

    // What is published last is received last: nothing else can be on its way.
    await bridge.publish({ event: 'end', to: { users: ['42', '43'] } })
    await session.until(() => session.received.at(-1)?.event === 'end')
    await other.until(() => other.received.at(-1)?.event === 'end')
    expect(session.received).toMatchObject([...published, { event: 'end', data: null }])
    expect(other.received).toHaveLength(1)
  })

  test('repeats what was accepted when the answer was lost, and the user still receives it once', async () => {
    await using bridge = await startTestBridge()
    await using proxy = await startSwallowingProxy(bridge.privateUrl, 1)
    await using session = connectSession(bridge.publicUrl, { token: login('42') })
    await session.notice('sidecast:ready')

    await publish(proxy.url)
    const [lost, again] = [proxy.swallowed[0], proxy.passed[0]].map((answer) => JSON.parse(answer ?? 'null'))
    expect(lost).toMatchObject({ duplicate: false })
    expect(again).toEqual({ ...lost, duplicate: true })

    await bridge.publish({ event: 'end', to: { users: ['42'] } })
    await session.until(() => session.received.at(-1)?.event === 'end')
    expect(session.received).toMatchObject([...published, { event: 'end' }])
  })

  test('says that the key is wrong, and does not try again', async () => {
    await using bridge = await startTestBridge()
    await using proxy = await startSwallowingProxy(bridge.privateUrl, 0)
    const { exitCode, errors } = await publish(proxy.url, 'a-key-that-nobody-knows-0123456789abcdef')
    expect(errors).toContain('api_key_invalid')
    expect(exitCode).toBe(1)
    expect(proxy.passed).toHaveLength(1)
  })

  test('takes an address that ends with a slash and a key that ends with a newline', async () => {
    await using bridge = await startTestBridge()
    const { output, errors } = await publish(`${bridge.privateUrl}/`, `${apiKey}\n`)
    expect(output, errors).toContain('published')
  })

  test('says that there is no key, instead of sending none', async () => {
    const { exitCode, errors } = await publish('http://127.0.0.1:1', '')
    expect(errors).toContain('SIDECAST_API_KEY is not set')
    expect(exitCode).toBe(1)
  })

  test('says that nobody answers when the bridge is not there', async () => {
    const { exitCode, errors } = await publish('http://127.0.0.1:1')
    expect(errors).toMatch(/connect/i)
    expect(errors).toContain('127.0.0.1')
    expect(exitCode).toBe(1)
  })

  test('tries again while the bridge is unavailable, and gives up with its answer', async () => {
    let requests = 0
    const server = createServer((_request, response) => {
      requests++
      response.writeHead(503, { 'content-type': 'application/problem+json' }).end('{"code":"log_unavailable","detail":"Events cannot be stored."}')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { exitCode, errors } = await publish(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    server.close()
    expect(requests).toBe(3)
    expect(errors).toContain('log_unavailable')
    expect(exitCode).toBe(1)
  })
})

test('the PHP example says each thing that is wrong once', async () => {
  await using bridge = await startTestBridge()
  const { errors } = await runProgram('php', ['examples/php/publish.php'], { SIDECAST_URL: bridge.privateUrl, SIDECAST_API_KEY: apiKey })
  expect(errors.match(/must be a letter/g)).toHaveLength(1)
})

test('a login token made by the PHP example opens a session with its user and rooms', async () => {
  await using bridge = await startTestBridge()
  const { output } = await runProgram('php', ['examples/php/login.php', '42'], { SIDECAST_JWT_SECRET: secret })
  await using session = connectSession(bridge.publicUrl, { token: output.trim() })
  expect((await session.notice('sidecast:ready')).data).toMatchObject({ user: '42', rooms: ['user:42', 'news'] })
  expect(await session.request('sidecast:join', { room: 'order:7' })).toMatchObject({ ok: true })
})
