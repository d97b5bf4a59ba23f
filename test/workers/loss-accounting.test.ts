import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { freePorts } from '../support/free-ports.ts'
import { account, byBackend, Publisher, rooms, startClients, timesTold } from '../support/loss-account.ts'
import { createRandom } from '../support/random.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { startWorkerBridge } from './worker-bridge.ts'

const kills = 24
const parentKills = 3

test('what is accepted arrives, once and in order, whichever worker is killed meanwhile, and the parent', { timeout: 240_000 }, async () => {
  const random = createRandom()
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-loss-'))
  const [publicPort = 0, privatePort = 0] = await freePorts(2)
  const settings = { PUBLIC_PORT: String(publicPort), PRIVATE_PORT: String(privatePort), LOG_LEVEL: 'info' }
  const counts = { kills: 0, parentKills: 0, cuts: 0 }

  let bridge = await startWorkerBridge(settings, directory)
  const { privateUrl } = bridge
  await using proxy = await startTcpProxy({ host: '127.0.0.1', port: publicPort })
  for (const user of byBackend) expect(await bridge.call('PUT', `/v1/rooms/${rooms.backend}/users/${user}`)).toMatchObject({ status: 202 })
  const clients = await startClients(`http://127.0.0.1:${proxy.port}`)
  const failure = new AbortController()
  const pause = (min: number, max: number): Promise<void> => setTimeout(random.between(min, max), undefined, { signal: failure.signal })
  const publishers = ['orders', 'chat', 'import'].map((name) => new Publisher(name, privateUrl, random, failure.signal))
  let descriptors = 0
  try {
    let over = false
    const publishing = publishers.map(async (publisher) => {
      while (!over) {
        await publisher.publishSome()
        await pause(0, 25)
      }
    })
    const cutting = async (): Promise<void> => {
      while (!over) {
        await pause(10, 250)
        counts.cuts += proxy.cut(() => random.chance(0.2))
      }
    }
    const killing = async (): Promise<void> => {
      while (counts.kills < kills) {
        await pause(100, 800)
        const workers = [...(await bridge.workerPids()).values()]
        if (workers.length === 0) continue
        process.kill(random.pick(workers), 'SIGKILL')
        counts.kills++
        if (counts.kills % (kills / parentKills) !== 0) continue
        await bridge.process.kill()
        counts.parentKills++
        bridge = await startWorkerBridge(settings, directory)
      }
      await bridge.eventually('/readyz', ({ status }) => status === 'ok')
      over = true
    }
    await Promise.all([killing(), cutting(), ...publishing])

    // For everybody, and after everything else.
    expect(await bridge.call('POST', '/v1/events', { event: 'last', to: { all: true } })).toMatchObject({ status: 202 })
    await Promise.all(
      clients.map(({ session }) => session.until(() => session.received.some(({ event }) => event === 'last') || timesTold(session) > 0)),
    )
    descriptors = (await readdir(`/proc/${bridge.process.child.pid}/fd`)).length
  } finally {
    failure.abort()
    for (const { session } of clients) session.socket.disconnect()
    await bridge.process.kill()
    await rm(directory, { recursive: true })
  }

  const { total: sums, wrong } = account(clients, publishers)
  const total = { ...sums, ...counts, descriptors }
  console.log('loss accounting with workers', { seed: random.seed, ...total })
  expect(total).toMatchObject({ duplicates: 0, lost: 0, leaked: 0, told: 0, kills, parentKills })
  expect(wrong).toEqual([])
  expect(total.delivered).toBeGreaterThan(total.accepted)
  expect(total.reconnects).toBeGreaterThan(kills)
  // Those of clients are at the workers.
  expect(descriptors).toBeLessThan(80)
})
