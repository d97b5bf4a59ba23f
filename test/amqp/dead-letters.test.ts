import { once } from 'node:events'
import type { Options } from 'amqplib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { login, testEnvironment } from '../support/bridge.ts'
import { type Broker, type Names, startBroker } from '../support/broker.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { runSidecast, startSidecast } from '../support/sidecast.ts'
import { startConsumingBridge } from './consuming-bridge.ts'

let broker: Broker
beforeAll(async () => {
  broker = await startBroker({ owned: true })
})
afterAll(() => broker?.close())

interface Message extends Options.Publish {
  readonly key: string
  readonly body: string | Buffer
}

const json = (value: unknown): string => JSON.stringify(value)

/** Resolves when the broker has them. */
async function publish(exchange: string, messages: readonly Message[]): Promise<void> {
  const connection = await broker.connect()
  const channel = await connection.createConfirmChannel()
  for (const { key, body, ...properties } of messages) channel.publish(exchange, key, Buffer.from(body), { persistent: true, ...properties })
  await channel.waitForConfirms()
  await connection.close()
}

/** Resolves when so many messages are in a queue and nobody holds them. */
async function untilReady(queue: string, count: number): Promise<void> {
  const connection = await broker.connect()
  const channel = await connection.createChannel()
  while ((await channel.checkQueue(queue)).messageCount !== count) await channel.checkQueue(queue)
  await connection.close()
}

/** `sidecast dead-letters` with the configuration of the bridge. */
const deadLetters = (names: Names, ...args: readonly string[]) => runSidecast(['dead-letters', ...args], environment(names))

const environment = (names: Names) => testEnvironment('data', { AMQP_URL: broker.url, ...names.settings })

const idOf = (listed: string): string => /, id (\S+)/.exec(listed)?.[1] ?? ''

async function connect(url: string, user = '7'): Promise<TestSession> {
  const session = connectSession(url, { token: login(user) })
  await session.notice('sidecast:ready')
  return session
}

/** A bridge that has refused three events as too large, and has stopped. */
async function refuseThree(): Promise<Names> {
  await using bridge = await startConsumingBridge(broker, { MAX_EVENT_SIZE: '1kb' })
  const { names } = bridge
  const messages = ['one', 'two', 'three'].map((n) => ({
    key: 'user.7.grown',
    body: json({ n, filling: 'x'.repeat(2000) }),
    messageId: `grown-${n}`,
  }))
  await publish(names.exchange, messages)
  await untilReady(names.deadLetter, 3)
  return names
}

describe('list and show', () => {
  test('say what each letter is and why it is here, and leave all as it was', async () => {
    await using bridge = await startConsumingBridge(broker)
    const { names } = bridge
    expect(await deadLetters(names, 'list')).toEqual({ exitCode: 0, out: `There is no dead letter in ${names.deadLetter}.\n`, error: '' })
    await publish(names.exchange, [
      { key: 'user.7.order.paid', body: 'not json', messageId: 'm-1', headers: { shop: 'north' }, timestamp: 1_700_000_000, appId: 'shop' },
      { key: 'elsewhere', body: '{}' },
      { key: 'user.7.\u001b[2J', body: Buffer.from([0xff, 0x00, 0xfe]), messageId: 'three\nlines' },
    ])
    await untilReady(names.deadLetter, 3)

    const listed = await deadLetters(names, 'list')
    expect(listed).toMatchObject({ exitCode: 0, error: '' })
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`
    const id = '[0-9a-f-]{36}'
    expect(listed.out.split('\n')).toEqual([
      expect.stringMatching(new RegExp(`^1  ${time}  invalid_json: .+`)),
      expect.stringMatching(new RegExp(`^   routing key "user.7.order.paid", 8 bytes, message id "m-1", id ${id}$`)),
      expect.stringMatching(new RegExp(`^2  ${time}  no_target: .+`)),
      expect.stringMatching(new RegExp(`^   routing key "elsewhere", 2 bytes, no message id, id ${id}$`)),
      expect.stringMatching(new RegExp(`^3  ${time}  [a-z_]+: .+`)),
      expect.stringMatching(/^ {3}routing key "user\.7\.\\u001b\[2J", 3 bytes, message id "three\\nlines", id /),
      '',
    ])
    // Nothing that was published commands the terminal.
    expect(listed.out).not.toContain('\u001b')

    const first = listed.out.split('\n').slice(0, 2).join('\n')
    for (const name of ['1', idOf(first), 'm-1']) {
      const { exitCode, out } = await deadLetters(names, 'show', name)
      expect(exitCode).toBe(0)
      expect(out).toContain(first)
      expect(out).toContain(`exchange: ${names.exchange}\nrouting key: user.7.order.paid\n`)
      expect(out).toContain('  shop: "north"\n')
      expect(out).toContain('  appId: "shop"\n')
      expect(out).toContain('  timestamp: 1700000000\n')
      expect(out).toMatch(/\nbody:\nnot json\n$/)
    }
    expect((await deadLetters(names, 'show', '3')).out).toMatch(/\nbody, which is not UTF-8, in base64:\n\/wD\+\n$/)
    expect(await deadLetters(names, 'list', '--limit', '1')).toMatchObject({ out: `${first}\n… and 2 more: --limit 3 lists them all\n` })
    expect(await deadLetters(names, 'list')).toEqual(listed)
    await untilReady(names.deadLetter, 3)
  })

  test('also know what the broker itself gave up, under the same id each time', async () => {
    await using bridge = await startConsumingBridge(broker)
    const { names } = bridge
    await bridge.stop()
    await publish(names.exchange, [{ key: 'user.7.too.late', body: '{"n":1}', expiration: '1', messageId: 'late' }])
    await untilReady(names.deadLetter, 1)
    const { out } = await deadLetters(names, 'list')
    expect(out).toMatch(
      /^1 {2}\d{4}-.+Z {2}expired: given up by the broker, .+\n {3}routing key "user.7.too.late", 7 bytes, message id "late", id broker-/,
    )
    const shown = await deadLetters(names, 'show', idOf(out))
    expect(shown.out).toContain(`exchange: ${names.exchange}\n`)
    expect(shown.out).toContain('x-death')
  })
})

describe('replay', () => {
  test('puts the named letter back, and only it, and only to the bridge', async () => {
    const names = await refuseThree()
    const connection = await broker.connect()
    const channel = await connection.createChannel()
    const { queue: other } = await channel.assertQueue('', { exclusive: true })
    await channel.bindQueue(other, names.exchange, '#')

    await using bridge = await startConsumingBridge(broker, { ...names.settings })
    await using session = await connect(bridge.publicUrl)
    const { exitCode, out, error } = await deadLetters(names, 'replay', 'grown-two')
    expect({ exitCode, error }).toEqual({ exitCode: 0, error: '' })
    expect(out).toMatch(new RegExp(`^replayed 2 \\(event_too_large\\), id .+\n1 letter is back in ${names.queue}.\n$`))
    expect(await session.event()).toMatchObject({ event: 'grown', data: { n: 'two' } })

    await untilReady(names.deadLetter, 2)
    const listed = await deadLetters(names, 'list')
    expect(listed.out.match(/"grown-\w+"/g)).toEqual(['"grown-one"', '"grown-three"'])
    expect(await deadLetters(names, 'replay', '2', idOf(listed.out))).toMatchObject({ exitCode: 0 })
    await session.event(3)
    expect(session.received.map(({ data }) => Object(data).n)).toEqual(['two', 'one', 'three'])
    expect((await channel.checkQueue(other)).messageCount).toBe(0)
    await connection.close()
  })

  test('of all keeps their order, and what the broker gave up is among them', async () => {
    const names = await refuseThree()
    await publish(names.exchange, [{ key: 'user.7.grown', body: '{"n":"late"}', expiration: '1', headers: { trace: 't' } }])
    await untilReady(names.deadLetter, 4)
    await using bridge = await startConsumingBridge(broker, { ...names.settings })
    await using session = await connect(bridge.publicUrl)
    expect(await deadLetters(names, 'replay', '--all')).toMatchObject({ exitCode: 0, out: expect.stringContaining('4 letters are back') })
    await session.event(4)
    expect(session.received.map(({ data }) => Object(data).n)).toEqual(['one', 'two', 'three', 'late'])
    expect(await deadLetters(names, 'list')).toMatchObject({ out: expect.stringContaining('no dead letter') })
  })

  test('of what is still refused ends, and it stands there again with what it came with', async () => {
    await using bridge = await startConsumingBridge(broker)
    const { names } = bridge
    await publish(names.exchange, [
      { key: 'user.7.a', body: 'one', messageId: 'm1', headers: { shop: 'north' } },
      { key: 'user.7.b', body: 'two', messageId: 'm2' },
    ])
    await untilReady(names.deadLetter, 2)
    const before = await deadLetters(names, 'list')
    expect(await deadLetters(names, 'replay', '--all')).toMatchObject({ exitCode: 0, out: expect.stringContaining('2 letters are back') })
    await untilReady(names.deadLetter, 2)
    const after = await deadLetters(names, 'list')
    expect(after.out.match(/"m\d"/g)).toEqual(['"m1"', '"m2"'])
    expect(idOf(after.out)).not.toBe(idOf(before.out))
    expect((await deadLetters(names, 'show', 'm1')).out).toContain('  shop: "north"\n')
  })

  test('that is killed half-way loses nothing and delivers nothing twice', async () => {
    const count = 2000
    await using bridge = await startConsumingBridge(broker)
    const { names } = bridge
    await using session = await connect(bridge.publicUrl)
    // As a bridge with other settings had refused them.
    const letters = Array.from({ length: count }, (_, n) => ({
      key: 'user.7.counted',
      body: json(n),
      messageId: `${names.queue}-${n}`,
      headers: { 'sidecast-error': 'event_too_large: it is', 'sidecast-routing-key': 'user.7.counted', 'sidecast-exchange': names.exchange },
    }))
    await publish(names.deadLetter, letters)
    for (const replayed of [1, 300, 700]) {
      const child = startSidecast(['dead-letters', 'replay', '--all'], environment(names))
      let lines = 0
      for await (const chunk of child.stdout) {
        lines += String(chunk).split('replayed').length - 1
        if (lines >= replayed) child.kill('SIGKILL')
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      expect(child.signalCode).toBe('SIGKILL')
    }
    expect(await deadLetters(names, 'replay', '--all')).toMatchObject({ exitCode: 0, error: '' })
    await untilReady(names.deadLetter, 0)
    await session.until(() => session.received.length >= count)
    expect(session.received.map(({ data }) => data)).toEqual(letters.map((_, n) => n))
  })

  test('leaves the letters where they are when the queue of the bridge is gone', async () => {
    const names = await refuseThree()
    const connection = await broker.connect()
    await (await connection.createChannel()).deleteQueue(names.queue)
    const { exitCode, error } = await deadLetters(names, 'replay', '--all')
    expect(exitCode).toBe(1)
    expect(error).toContain(names.queue)
    await untilReady(names.deadLetter, 3)
    await connection.close()
  })
})

test('a broker that takes no messages is told of, and waited for', async () => {
  const names = await refuseThree()
  await broker.setMemoryAlarm(true)
  const child = startSidecast(['dead-letters', 'replay', '--all'], environment(names))
  const closed = once(child, 'close')
  let [out, error] = ['', '']
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  const told = new Promise<void>((resolve) =>
    child.stderr.on('data', (chunk) => {
      error += chunk
      if (error.includes('waiting')) resolve()
    }),
  )
  await told
  expect(out).toBe('')
  await broker.setMemoryAlarm(false)
  await closed
  expect(child.exitCode).toBe(0)
  expect(out).toContain('3 letters are back')
})

test('what cannot be done is said with the exit code that scripts rely on', async () => {
  const names = await refuseThree()
  for (const args of [
    ['show', '4'],
    ['show', 'grown-four'],
    ['replay', 'grown-four'],
    ['replay', '4'],
  ])
    expect(await deadLetters(names, ...args)).toMatchObject({ exitCode: 1, error: expect.stringContaining(`no dead letter ${args[1]}`) })
  const calls = [
    [],
    ['lits'],
    ['list', '1'],
    ['list', '--limit', '0'],
    ['list', '--all'],
    ['show'],
    ['show', '1', '2'],
    ['replay'],
    ['replay', '1', '--all'],
  ]
  const refused = [...calls, ['list', '--amqp-quue', 'x']].map(async (args) =>
    expect(await deadLetters(names, ...args)).toMatchObject({ exitCode: 2, out: '' }),
  )
  await Promise.all(refused)
  expect(await runSidecast(['dead-letters', 'list'], testEnvironment('data'))).toMatchObject({
    exitCode: 2,
    error: expect.stringContaining('SIDECAST_AMQP_URL is not set'),
  })
  const away = await runSidecast(['dead-letters', 'list'], testEnvironment('data', { AMQP_URL: 'amqp://guest:hidden-word@127.0.0.1:1' }))
  expect(away).toMatchObject({ exitCode: 1, error: expect.stringContaining('ECONNREFUSED') })
  expect(away.error).not.toContain('hidden-word')
  expect(await deadLetters({ ...names, settings: { ...names.settings, AMQP_DEAD_LETTER: 'other' } }, 'list')).toMatchObject({
    exitCode: 1,
    error: expect.stringContaining("no queue 'other'"),
  })
  await untilReady(names.deadLetter, 3)
})
