import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { Turns } from '../../src/gateway/turns.ts'
import { startTestBridge } from '../support/bridge.ts'

/** Uses the turn up, so that whatever comes next has to wait. */
function startTurns({ maxWaitMs = 10_000, maxWaiting = 10_000 } = {}) {
  const clock = { now: 0 }
  const turns = new Turns({ maxWaitMs, maxWaiting, now: () => clock.now })
  turns.take(() => undefined)
  return { turns, clock }
}

test('who has been let in goes before all who have only come, each in the order of their coming', async () => {
  const { turns } = startTurns()
  const done: string[] = []
  for (const name of ['a', 'b']) turns.offer(() => done.push(`${name} is let in`))
  for (const name of ['c', 'd']) turns.take(() => done.push(`${name} is logged in`))
  await expect.poll(() => done).toEqual(['c is logged in', 'd is logged in', 'a is let in', 'b is let in'])
})

test('a crowd is served to the last one, in order, and whoever comes afterwards as well', async () => {
  const { turns } = startTurns()
  const done: number[] = []
  for (let number = 0; number < 1000; number++) expect(turns.offer(() => done.push(number))).toBe(true)
  await expect.poll(() => done.length).toBe(1000)
  turns.offer(() => done.push(1000))
  await expect.poll(() => done.length).toBe(1001)
  expect(done).toEqual(Array.from({ length: 1001 }, (_, number) => number))
})

test('nobody is let in while too many wait, or while one has waited for too long, and then again', async () => {
  const { turns, clock } = startTurns({ maxWaitMs: 1000, maxWaiting: 3 })
  let done = 0
  const offer = (): boolean => turns.offer(() => done++)
  expect([offer(), offer(), offer(), offer()]).toEqual([true, true, true, false])
  await expect.poll(() => done).toBe(3)
  turns.take(() => undefined)
  expect(offer()).toBe(true)
  clock.now = 1000
  expect(offer()).toBe(true)
  clock.now = 1001
  expect(offer()).toBe(false)
  await expect.poll(() => done).toBe(5)
  expect(offer()).toBe(true)
})

test('thousands who come at once are all let in', async () => {
  await using bridge = await startTestBridge()
  const { port } = new URL(bridge.publicUrl)
  const socket = connect(Number(port), '127.0.0.1')
  let answered = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    answered += chunk
  })
  socket.write('GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2000))
  await expect.poll(() => answered.split('HTTP/1.1 200 OK').length - 1).toBe(2000)
  socket.destroy()
})
