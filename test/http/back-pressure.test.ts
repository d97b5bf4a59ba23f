import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { head, startIngress } from './start-ingress.ts'

const headers = { 'content-type': 'application/x-ndjson', 'transfer-encoding': 'chunked' }
const megabyte = 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage: unknown = runInNewContext('gc')

/** Bytes that somebody holds: how much garbage lies about is the collector's affair. */
function used(): number {
  if (typeof collectGarbage === 'function') collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Lines of this many bytes, as one chunk of the transfer coding. */
function chunkOf(count: number, bytes: number): Buffer {
  const start = '{"event":"n","to":{"users":[1]},"data":"'
  const text = `${start}${'x'.repeat(bytes - start.length - 3)}"}\n`.repeat(count)
  return Buffer.from(`${text.length.toString(16)}\r\n${text}\r\n`)
}

test('a stream of 200 MB is taken in flat memory, every line answered', async () => {
  await using ingress = await startIngress()
  const raw = await ingress.raw()
  let answers = 0
  raw.socket.removeAllListeners('data').on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 0x0a) answers++
  })
  raw.socket.write(head('POST', '/v1/events/batch', headers))
  const before = used()
  let highest = 0
  // Large lines, and as many bytes in lines that are too long for any event.
  const large = chunkOf(5, 200_000)
  const tooLong = chunkOf(1, megabyte)
  for (let sent = 0; sent < 200 * megabyte; sent += large.length + tooLong.length) {
    for (const chunk of [large, tooLong]) if (!raw.socket.write(chunk)) await new Promise((resolve) => raw.socket.once('drain', resolve))
    highest = Math.max(highest, used() - before)
  }
  const closed = new Promise((resolve) => raw.socket.on('close', resolve))
  raw.socket.write('0\r\n\r\n')
  await expect.poll(() => ingress.log.head()).toBeGreaterThanOrEqual(490)
  // One line end per answer; headers and the transfer coding have some of their own.
  expect(answers).toBeGreaterThan(588)
  expect(highest).toBeLessThan(50 * megabyte)
  raw.socket.destroy()
  await closed
})

test('a client that does not read its answers is not read from either', async () => {
  await using ingress = await startIngress()
  const raw = await ingress.raw()
  raw.socket.pause()
  raw.socket.write(head('POST', '/v1/events/batch', headers))
  // Bad lines: their answers are longer than they are, and nothing is stored.
  const text = `${'x'.repeat(50)}\n`.repeat(1000)
  const chunk = Buffer.from(`${text.length.toString(16)}\r\n${text}\r\n`)
  const before = used()
  let sent = 0
  let stuck = false
  while (!stuck && sent < 200 * megabyte) {
    if (raw.socket.write(chunk)) sent += chunk.length
    else stuck = await Promise.race([new Promise<boolean>((resolve) => raw.socket.once('drain', () => resolve(false))), setTimeout(3_000, true)])
  }
  expect(stuck).toBe(true)
  expect(used() - before).toBeLessThan(20 * megabyte)
  // When it reads, everything goes on.
  let received = 0
  raw.socket.removeAllListeners('data').on('data', (answers: Buffer) => {
    received += answers.length
  })
  raw.socket.resume()
  await new Promise((resolve) => raw.socket.once('drain', resolve))
  raw.socket.write('0\r\n\r\n')
  await expect.poll(() => received).toBeGreaterThan(sent)
  raw.socket.destroy()
  await raw.closed
})

test('a client that never reads its answers is cut off', async () => {
  await using ingress = await startIngress({ streamIdleMs: 300, lingerMs: 100 })
  const raw = await ingress.raw()
  raw.socket.pause()
  raw.socket.write(head('POST', '/v1/events/batch', headers))
  const text = 'x\n'.repeat(1_000_000)
  raw.socket.write(`${text.length.toString(16)}\r\n${text}\r\n`)
  await expect.poll(() => new Promise((resolve) => ingress.server.getConnections((_, count) => resolve(count)))).toBe(0)
  raw.socket.destroy()
})

const publishing = (() => {
  const body = '{"event":"n","to":{"users":[1]}}'
  return `${head('POST', '/v1/events', { 'content-type': 'application/json', 'content-length': body.length })}${body}`
})()

test('calls that are made on one connection without waiting are all answered, in order', async () => {
  await using ingress = await startIngress()
  const raw = await ingress.raw()
  raw.socket.write(publishing.repeat(500) + head('GET', '/livez'))
  await raw.until(/"status":"ok"/)
  expect(raw.received().match(/HTTP\/1\.1 202 /g)).toHaveLength(500)
  raw.socket.destroy()
})

test('a client that calls and calls, and waits for no answer, is cut off', async () => {
  await using ingress = await startIngress()
  const raw = await ingress.raw()
  raw.socket.pause()
  const most = 200_000
  let asked = 0
  for (; asked < most && !raw.socket.destroyed; asked += 500) {
    if (!raw.socket.write(publishing.repeat(500))) {
      await Promise.race([raw.closed, new Promise((resolve) => raw.socket.once('drain', resolve))])
    }
  }
  expect(asked).toBeLessThan(most)
  await raw.closed
  await expect.poll(() => new Promise((resolve) => ingress.server.getConnections((_, count) => resolve(count)))).toBe(0)
})
