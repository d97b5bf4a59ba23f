/**
 * What clients see while three nodes behind HAProxy are restarted one after the other: `npm run bench:rolling [clients] [drain period] [workers]`. Everything
 * shares this machine, so it is the shape that counts: returns per 100 ms, and that nothing is lost, repeated or swapped, without which it fails.
 */

import { setTimeout } from 'node:timers/promises'
import { startDeployment } from '../test/deploy/deployment.ts'
import { type Herd, startHerd } from '../test/deploy/herd.ts'
import { startPublishing } from '../test/deploy/publishing.ts'
import { perSlice } from '../test/deploy/slices.ts'

const [clients = '3000', drainPeriod = '10s', workers = '1'] = process.argv.slice(2)
const herds = 3
const pauseMs = 250
/** Who has not got all by so long after the last of it was accepted has lost something. */
const patienceMs = 60_000

await using deployment = await startDeployment(3, { DRAIN_LEAD: '2s', DRAIN_PERIOD: drainPeriod, TRUSTED_PROXIES: 'loopback', WORKERS: workers })
const each = Math.ceil(Number(clients) / herds)
const all: Herd[] = []
await using stack = new AsyncDisposableStack()
for (let index = 0; index < herds; index++) {
  all.push(stack.use(await startHerd({ url: deployment.publicUrl, secret: deployment.secret, count: each, name: `herd${index}` })))
}
console.log(`${each * herds} clients over WebSocket, three nodes of ${workers}, a drain period of ${drainPeriod}`)
const publishing = startPublishing(deployment, pauseMs)
for (const [index, node] of deployment.nodes.entries()) {
  const startedAt = performance.now()
  await node.restart()
  console.log(`node ${index + 1} is back after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
}
const { accepted, repeated } = await publishing.stop()
const reports = await Promise.race([Promise.all(all.map((herd) => herd.complete(accepted))), setTimeout(patienceMs, [], { ref: false })])
const sum = (pick: (report: (typeof reports)[number]) => number): number => reports.reduce((total, report) => total + pick(report), 0)
const returns = reports.flatMap((report) => report.returns)
const slices = [...perSlice(returns).values()].toSorted((one, other) => one - other)
console.log(`${accepted} events accepted, ${repeated} attempts to publish were repeated`)
console.log(
  `${sum(({ complete }) => complete)} clients have all of them once and in order; ${reports.flatMap(({ wrong }) => wrong).length} saw anything else`,
)
console.log(
  `${returns.length} returns, ${sum(({ notRecovered }) => notRecovered)} of them not a continuation; ${sum(({ draining }) => draining)} were told to go`,
)
if (sum(({ complete }) => complete) < each * herds || sum(({ wrong, notRecovered }) => wrong.length + notRecovered) > 0) {
  console.error(['an accepted event was lost, repeated or swapped:', ...reports.flatMap(({ wrong }) => wrong)].join('\n'))
  process.exitCode = 1
}
console.log(
  `returns per 100 ms: median ${slices[Math.floor(slices.length / 2)]}, 99th percentile ${slices[Math.floor(slices.length * 0.99)]}, most ${slices.at(-1)}`,
)
