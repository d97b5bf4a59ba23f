import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { EventLoopDelay } from '../src/metrics/event-loop-delay.ts'
import { startTestBridge } from './support/bridge.ts'

function hold(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

test('the metrics say for how long the event loop was held, since they were read last', async () => {
  await using bridge = await startTestBridge()
  await setTimeout(50)
  hold(300)
  // So that it is noticed.
  await setTimeout(50)
  const read = async (): Promise<number> => {
    const text = await (await fetch(`${bridge.privateUrl}/metrics`)).text()
    expect(text).toMatch(/^sidecast_event_loop_delay_seconds\{stat="p99"\} [\d.e-]+$/m)
    return Number(/^sidecast_event_loop_delay_seconds\{stat="max"\} ([\d.e-]+)$/m.exec(text)?.[1])
  }
  expect(await read()).toBeGreaterThan(0.25)
  await expect.poll(read).toBeLessThan(0.25)
})

test('a process that is held up again and again is not ready, and is ready when that is over', async () => {
  const delay = new EventLoopDelay({ windowMs: 200, maxP99Ms: 50 })
  while (delay.check().failure === undefined) {
    hold(120)
    await setTimeout(1)
  }
  expect(delay.check()).toMatchObject({ name: 'event_loop', failure: expect.stringContaining('the process was held up for') })
  while (delay.check().failure !== undefined) await setTimeout(20)
  delay.close()
})
