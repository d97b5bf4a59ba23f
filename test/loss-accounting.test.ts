import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { callIngress } from './support/bridge.ts'
import { BridgeProcess } from './support/bridge-process.ts'
import { freePorts } from './support/free-ports.ts'
import { account, byBackend, Publisher, rooms, startClients, timesTold } from './support/loss-account.ts'
import { createRandom } from './support/random.ts'
import { startTcpProxy } from './support/tcp-proxy.ts'

const kills = 22

test('what is accepted arrives, once and in order, whatever is killed or cut meanwhile, and nobody else gets it', { timeout: 240_000 }, async () => {
  const random = createRandom()
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-loss-'))
  const [publicPort = 0, privatePort = 0] = await freePorts(2)
  const settings = { PUBLIC_PORT: String(publicPort), PRIVATE_PORT: String(privatePort), LOG_LEVEL: 'info' }
  const privateUrl = `http://127.0.0.1:${privatePort}`
  const counts = { kills: 0, cuts: 0, resets: 0 }

  let bridge = new BridgeProcess(settings, { directory })
  await bridge.ready()
  await using proxy = await startTcpProxy({ host: '127.0.0.1', port: publicPort })
  for (const user of byBackend)
    expect(await callIngress(privateUrl, 'PUT', `/v1/rooms/${rooms.backend}/users/${user}`)).toMatchObject({ status: 202 })
  const clients = await startClients(`http://127.0.0.1:${proxy.port}`)
  const failure = new AbortController()
  const pause = (min: number, max: number): Promise<void> => setTimeout(random.between(min, max), undefined, { signal: failure.signal })
  const publishers = ['orders', 'chat', 'import'].map((name) => new Publisher(name, privateUrl, random, failure.signal))
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
        if (random.chance(0.5)) {
          const { session } = random.pick(clients)
          // A stock client that is cut while it connects waits until its patience ends.
          if (session.socket.connected) {
            session.cut()
            counts.cuts++
          }
        } else {
          const all = random.chance(0.1)
          counts.resets += proxy.cut(() => all || random.chance(0.2))
        }
      }
    }
    const killing = async (): Promise<void> => {
      while (counts.kills < kills) {
        // Now and then also while it is starting.
        if (random.chance(0.85)) await bridge.ready()
        await pause(0, 900)
        await bridge.kill()
        counts.kills++
        bridge = new BridgeProcess(settings, { directory })
      }
      await bridge.ready()
      over = true
    }
    await Promise.all([killing(), cutting(), ...publishing])

    // For everybody, and after everything else.
    const last = await callIngress(privateUrl, 'POST', '/v1/events', { event: 'last', to: { all: true } })
    expect(last).toMatchObject({ status: 202 })
    // One that was told that it missed something may have missed this.
    await Promise.all(
      clients.map(({ session }) => session.until(() => session.received.some(({ event }) => event === 'last') || timesTold(session) > 0)),
    )
  } finally {
    failure.abort()
    for (const { session } of clients) session.socket.disconnect()
    await bridge.kill()
    await rm(directory, { recursive: true })
  }

  const { total: sums, wrong } = account(clients, publishers)
  const total = { ...sums, ...counts }
  console.log('loss accounting', { seed: random.seed, ...total })

  expect(total).toMatchObject({ duplicates: 0, lost: 0, leaked: 0, told: 0 })
  expect(wrong).toEqual([])
  for (const { accepted: own } of publishers)
    expect(own.map(({ position }) => position)).toEqual(own.map(({ position }) => position).toSorted((a, b) => a - b))
  expect(total.kills).toBe(kills)
  expect(total.delivered).toBeGreaterThan(total.accepted)
  expect(total.reconnects).toBeGreaterThan(kills)
})
