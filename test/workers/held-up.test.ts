import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { login } from '../support/bridge.ts'
import { connectSession } from '../support/client.ts'
import { startWorkerBridge, workerOf } from './worker-bridge.ts'

test('a worker that takes nothing is cut off before what waits for it fills the memory, and its clients go on at another', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', MAX_EVENT_SIZE: '8mb', MAX_BUFFER: '8mb', LOG_LEVEL: 'info' })
  await using session = connectSession(bridge.publicUrl, { token: login('ada') })
  await session.notice('sidecast:ready')
  process.kill((await bridge.workerPids()).get(workerOf(session)) ?? 0, 'SIGSTOP')
  expect(await bridge.call('POST', '/v1/events', { event: 'missed', to: { users: ['ada'] } })).toMatchObject({ status: 202 })
  // Every worker is told of all events, also of those for nobody.
  const data = 'x'.repeat(7_000_000)
  for (let count = 0; count < 12; count++) {
    expect(await bridge.call('POST', '/v1/events', { event: 'large', data, to: { users: ['nobody'] } })).toMatchObject({ status: 202 })
  }
  await bridge.process.said('it does not take what it is told')
  expect(await session.event()).toMatchObject({ event: 'missed' })
  expect(await session.notice('sidecast:ready', 2)).toMatchObject({ data: { recovered: true } })
  await bridge.eventually('/readyz', ({ status }) => status === 'ok')
})

test('a worker that is held up again and again is named by readiness', { timeout: 240_000 }, async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2' })
  const number = 1
  const isNamed = async (): Promise<boolean> =>
    JSON.stringify((await bridge.call('GET', '/readyz')).body).includes(`"failure":"worker ${number}: the process was held up for`)
  let seen = false
  while (!seen) {
    // Where the machine is so slow that it was replaced all the same, this is its successor.
    const pid = (await bridge.workerPids()).get(number)
    if (pid === undefined) continue
    // Shorter than what it would be replaced for, longer than what is still called ready; it says so itself when it goes on.
    process.kill(pid, 'SIGSTOP')
    await setTimeout(7000)
    process.kill(pid, 'SIGCONT')
    for (const end = performance.now() + 1500; !seen && performance.now() < end; seen = await isNamed()) await setTimeout(50)
  }
  await bridge.eventually('/readyz', ({ status }) => status === 'ok')
})
