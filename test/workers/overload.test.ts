import { expect, test } from 'vitest'
import { openPaused, publishPadded, publishUntilRefused } from '../gateway/paused-clients.ts'
import { startWorkerBridge } from './worker-bridge.ts'

test('publishers are refused when too much waits for the slow clients of one worker, and taken again', async () => {
  await using bridge = await startWorkerBridge({ WORKERS: '2', MAX_BUFFERED: '16mb', MAX_BUFFER: '8mb' })
  const slow = await openPaused(bridge)
  const { accepted, refusal } = await publishUntilRefused(bridge)
  expect(refusal.status).toBe(503)
  expect(await refusal.json()).toMatchObject({ code: 'overloaded' })
  for (const { raw } of slow) raw.tcp.resume()
  await expect.poll(async () => (await publishPadded(bridge, accepted)).status).toBe(202)
})
