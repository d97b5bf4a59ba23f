import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'vitest'
import { folderNamed } from './log/folders.ts'
import { BridgePlay } from './membership/bridge-play.ts'
import { type Command, command } from './membership/commands.ts'
import { Play } from './membership/play.ts'
import { Stage } from './membership/stage.ts'
import { startTestBridge } from './support/bridge.ts'

/** With the seed that a failure names, the first run is the one that failed. */
const seed = Number(process.env.SIDECAST_TEST_SEED ?? randomInt(2 ** 31))

/** Whole runs, as many as there is time for. */
async function assertFor(limitMs: number, property: fc.IAsyncProperty<[Command[]]>, numRuns: number): Promise<void> {
  const end = Date.now() + limitMs
  for (let round = 0; Date.now() < end; round++) await fc.assert(property, { seed: seed + round, numRuns })
}

test('whatever happens at once, every session gets what it is entitled to, once, in order, and nothing else', async () => {
  const stage = new Stage(folderNamed('stage'))
  await stage.open()
  const totals: Record<string, number> = { runs: 0 }
  const property = fc.asyncProperty(fc.array(command, { maxLength: 80, size: 'max' }), async (commands) => {
    const play = new Play(stage, `r${totals.runs ?? 0}`)
    totals.runs = (totals.runs ?? 0) + 1
    stage.pass()
    try {
      for (const one of commands) await play.do(one)
      await play.finish()
    } finally {
      await play.leave()
    }
    for (const [name, count] of Object.entries(play.counts())) totals[name] = (totals[name] ?? 0) + count
  })
  try {
    await assertFor(15_000, property, 20)
  } finally {
    await stage.close()
    console.log('on the hub', { seed, ...totals })
  }
})

test('the same holds for stock clients of a bridge, on WebSocket and on long-polling', async () => {
  const totals = { runs: 0, received: 0 }
  const property = fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 120, size: 'max' }), async (commands) => {
    await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
    const play = new BridgePlay(bridge)
    try {
      for (const one of commands) await play.do(one)
      totals.received += await play.finish()
      totals.runs++
    } finally {
      play.leave()
    }
  })
  try {
    await assertFor(12_000, property, 2)
  } finally {
    console.log('on the bridge', { seed, ...totals })
  }
})
