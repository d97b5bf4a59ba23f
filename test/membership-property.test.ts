import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'vitest'
import { folderNamed } from './log/folders.ts'
import { command } from './membership/commands.ts'
import { Play } from './membership/play.ts'
import { Stage } from './membership/stage.ts'

const seed = Number(process.env.SIDECAST_TEST_SEED ?? randomInt(2 ** 31))

test('whatever happens at once, every session gets what it is entitled to, once, in order, and nothing else', { timeout: 120_000 }, async () => {
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
    await fc.assert(property, { seed, numRuns: 1_000_000, interruptAfterTimeLimit: 15_000 })
  } finally {
    await stage.close()
    console.log('on the hub', { seed, ...totals })
  }
})
