import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testEnvironment } from '../support/bridge.ts'
import { type Broker, startBroker } from '../support/broker.ts'
import { runSidecast } from '../support/sidecast.ts'

let broker: Broker
let directory = ''
beforeAll(async () => {
  broker = await startBroker({ owned: true })
  directory = await mkdtemp(join(tmpdir(), 'sidecast-doctor-'))
})
afterAll(async () => {
  await rm(directory, { recursive: true })
  await broker?.close()
})

const names = { AMQP_EXCHANGE: 'doctor', AMQP_QUEUE: 'doctor.events', AMQP_DEAD_LETTER: 'doctor.dead-letter' }

/** No bridge runs where it looks. */
async function examine(url: string): Promise<{ readonly exitCode: number | null; readonly out: string }> {
  const env = testEnvironment(directory, { ...names, AMQP_URL: url, AMQP_TOPOLOGY: 'assert', PUBLIC_PORT: '1', PRIVATE_PORT: '2' })
  const { exitCode, out } = await runSidecast(['doctor'], env)
  return { exitCode, out: out.replaceAll(/ +/g, ' ') }
}

test('a user who may do all that the bridge needs is well', async () => {
  const { exitCode, out } = await examine(broker.urlFor({}))
  expect({ exitCode, out }).toMatchObject({ exitCode: 0 })
  expect(out).toContain('ok broker connected; the queue doctor.events is as it should be')
})

test('a user who may not, and a wrong password, are told with the cure', async () => {
  await broker.addUser('doctor-nothing', 'only-for-this-test', { configure: '^$', write: '^$', read: '^$' })
  const denied = await examine(broker.urlFor({ user: 'doctor-nothing', password: 'only-for-this-test' }))
  expect(denied.exitCode).toBe(1)
  expect(denied.out).toMatch(/problem broker .*\n +-> give the user the rights/)
  const wrong = await examine(broker.urlFor({ user: 'doctor-nothing', password: 'wrong' }))
  expect(wrong.out).toMatch(/problem broker no connection: .*\n +-> is the broker running/)
  expect(wrong.out).not.toContain('only-for-this-test')
})
