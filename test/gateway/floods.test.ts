import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { createRandom } from '../support/random.ts'
import { WireClient } from './wire-client.ts'

const random = createRandom()
const crowd = Array.from({ length: 12 }, (_, index) => `user-${index}`)
const numberIn = (text: string): number => Number(/^42\["n",\[(\d+)/.exec(text)?.[1])
const offsetIn = (text: string): string => /"([^"]*)"\]$/.exec(text)?.[1] ?? ''

test(`through floods, answers, pings, upgrades and pauses each client gets whole frames, its events in order, and a farewell as the last word (SIDECAST_TEST_SEED=${random.seed})`, async () => {
  await using bridge = await startTestBridge({ PING_INTERVAL: '150ms', MAX_EVENT_SIZE: '64kb', MAX_BUFFER: '64kb' })
  const expected = new Map(crowd.map((user) => [user, [] as number[]]))
  const clients = await Promise.all(
    crowd.map(async (user) => {
      const client = new WireClient(bridge.publicUrl)
      await client.login(login(user, { rooms: ['hall'], grants: ['*'] }))
      return { user, client, asked: 0, pausedFor: 0 }
    }),
  )
  const upgrading: { readonly session: TestSession; readonly from: number }[] = []
  const hall: number[] = []
  let count = 0
  for (let round = 0; round < 60; round++) {
    for (const one of clients) {
      if (random.chance(0.3)) {
        for (let more = random.between(1, 3); more > 0; more--) one.client.send(`42${one.asked++}["sidecast:leave",{"room":"nowhere"}]`)
      }
      if (random.chance(0.2)) one.client.send('ping', 9)
      one.pausedFor = one.client.tcp.isPaused() ? one.pausedFor + 1 : 0
      // Not for so long, however slow the machine, that it would be cut off.
      if (one.pausedFor < 3 && random.chance(0.15)) one.client.tcp.pause()
      else if (one.pausedFor >= 3 || random.chance(0.5)) one.client.tcp.resume()
    }
    if (round % 12 === 5) {
      const session = connectSession(bridge.publicUrl, { token: login('upgrading', { rooms: ['hall'] }), forceNew: true })
      upgrading.push({ session, from: hall.length })
    }
    const events = Array.from({ length: random.pick([1, 1, 10, 40]) }, () => {
      const number = count++
      const users = random.chance(0.5) ? undefined : [random.pick(crowd), ...crowd.filter(() => random.chance(0.3))]
      for (const user of new Set(users ?? crowd)) expected.get(user)?.push(number)
      if (users === undefined) hall.push(number)
      const padding = 'x'.repeat(random.pick([0, 50, 200, 3000]) * (random.chance(0.05) ? 15 : 1))
      return { event: 'n', data: [number, padding], to: users === undefined ? { rooms: ['hall'] } : { users } }
    })
    const [one] = events
    if (events.length === 1 && one !== undefined) await bridge.publish(one)
    else expect((await bridge.call('POST', '/v1/events/batch', { events })).status).toBe(202)
    if (random.chance(0.2)) await setTimeout(random.between(1, 60))
  }
  for (const { client } of clients) client.tcp.resume()
  await bridge.publish({ event: 'end', to: { all: true } })

  for (const { user, client, asked } of clients) {
    await client.until(
      () => client.texts.some((text) => text.startsWith('42["end"')) && client.texts.filter((text) => text.startsWith('43')).length === asked,
    )
    const events = client.texts.filter((text) => text.startsWith('42["n"'))
    expect(events.map(numberIn)).toEqual(expected.get(user))
    const positions = events.map((text) => Number(offsetIn(text).split('-').at(-1)))
    expect(positions).toEqual(positions.toSorted((a, b) => a - b))
    const answers = client.texts.filter((text) => text.startsWith('43')).map((text) => Number(/^43(\d+)/.exec(text)?.[1]))
    expect(answers).toEqual(Array.from({ length: asked }, (_, index) => index))
    expect(client.texts.filter((text) => text.includes('sidecast:ready'))).toHaveLength(1)
  }
  for (const { session, from } of upgrading) {
    await session.until(() => session.received.some(({ event }) => event === 'end'))
    const numbers = session.received.filter(({ event }) => event === 'n').map(({ data }) => (data as readonly number[])[0])
    expect(numbers).toEqual(hall.slice(hall.length - numbers.length))
    expect(numbers.length).toBeLessThanOrEqual(hall.length - from)
    await session[Symbol.asyncDispose]()
  }

  const farewell = '42["sidecast:disconnect"'
  const drained = bridge.stop()
  for (const { client } of clients) {
    await client.until(() => client.isClosed)
    expect(client.texts.at(-1)).toContain(farewell)
    await client[Symbol.asyncDispose]()
  }
  await drained
})
