import { expect, test } from 'vitest'
import { type Backlog, Pressure } from '../src/core/pressure.ts'

class Client implements Backlog {
  waitingBytes = 0
  writtenBytes = 0
  isCut = false

  write(bytes: number): this {
    this.waitingBytes += bytes
    this.writtenBytes += bytes
    return this
  }

  take(bytes: number): void {
    this.waitingBytes -= bytes
  }

  cut(): void {
    this.isCut = true
    this.waitingBytes = 0
  }
}

function start({ maxBytes = 1000, maxLagMs = 60_000 } = {}) {
  const clock = { now: 0 }
  const changes: boolean[] = []
  const pressure = new Pressure({ maxBytes, maxLagMs, now: () => clock.now, onChange: (overloaded) => changes.push(overloaded) })
  const write = (client: Client, bytes: number): void => pressure.report(client.write(bytes))
  return { clock, changes, pressure, write }
}

test('it is overloaded from 80 % on until it is less than 60 %', () => {
  const { pressure, write, changes } = start()
  const client = new Client()
  write(client, 700)
  expect(pressure.overloaded).toBe(false)
  write(client, 100)
  expect(pressure.overloaded).toBe(true)
  client.take(150)
  pressure.recount()
  expect(pressure.overloaded).toBe(true)
  client.take(100)
  pressure.recount()
  expect(pressure.overloaded).toBe(false)
  expect(pressure.bytes).toBe(550)
  expect(changes).toEqual([true, false])
})

test('at the cap those with most are cut off first, and no more than needed, after the turn in which it was reached', async () => {
  const { pressure, write } = start()
  const [little, much, most] = [new Client(), new Client(), new Client()]
  write(little, 200)
  write(most, 500)
  write(much, 350)
  expect([little, much, most].map(({ isCut }) => isCut)).toEqual([false, false, false])
  await new Promise(setImmediate)
  expect([little, much, most].map(({ isCut }) => isCut)).toEqual([false, false, true])
  expect(pressure.bytes).toBe(550)
  expect(pressure.overloaded).toBe(false)
})

test('what has left meanwhile is not held against anybody', async () => {
  const { pressure, write } = start()
  const [one, other] = [new Client(), new Client()]
  write(one, 600)
  write(other, 500)
  one.take(600)
  await new Promise(setImmediate)
  expect([one.isCut, other.isCut]).toEqual([false, false])
  expect(pressure.bytes).toBe(500)
})

test('when clients make no room those who have taken nothing are cut off, all of them; of the others no more than needed', () => {
  const { clock, pressure, write } = start()
  const [still, stillToo, slow] = [new Client(), new Client(), new Client()]
  write(still, 300)
  write(stillToo, 10)
  write(slow, 500)
  clock.now = 1000
  slow.take(1)
  pressure.recount()
  clock.now = 5001
  pressure.recount()
  expect([still.isCut, stillToo.isCut, slow.isCut]).toEqual([true, true, false])
  expect([pressure.bytes, pressure.overloaded]).toEqual([499, false])
})

test('clients that make no room do not keep publishers out for ever', () => {
  const { clock, pressure, write } = start()
  const [one, other] = [new Client(), new Client()]
  write(one, 500)
  write(other, 400)
  clock.now = 1
  for (const client of [one, other]) client.take(1)
  pressure.recount()
  clock.now = 5000
  pressure.recount()
  expect(pressure.overloaded).toBe(true)
  clock.now = 5001
  pressure.recount()
  expect([one.isCut, other.isCut, pressure.overloaded]).toEqual([true, false, false])
})

test('a client for which a byte waits for too long is cut off, however steadily it reads; one that keeps up is not', () => {
  const { clock, pressure, write } = start({ maxBytes: 1e9, maxLagMs: 10_000 })
  const [slow, steady] = [new Client(), new Client()]
  write(slow, 1000)
  write(steady, 1000)
  for (clock.now = 1000; clock.now <= 10_000; clock.now += 1000) {
    slow.take(10)
    write(slow, 50)
    steady.take(500)
    write(steady, 500)
    pressure.recount()
  }
  expect([slow.isCut, steady.isCut]).toEqual([false, false])
  pressure.recount()
  expect([slow.isCut, steady.isCut]).toEqual([true, false])
  expect(pressure.bytes).toBe(1000)
})
