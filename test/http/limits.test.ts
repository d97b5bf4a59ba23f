import { expect, test } from 'vitest'
import { head, type Ingress, startIngress } from './start-ingress.ts'

const json = { 'content-type': 'application/json' }

/** An event whose JSON has exactly this many bytes. */
function eventOf(bytes: number): string {
  const start = '{"event":"a","to":{"users":[1]},"data":"'
  return `${start}${'x'.repeat(bytes - start.length - 2)}"}`
}

async function sendRaw(ingress: Ingress, request: string): Promise<string> {
  const raw = await ingress.raw()
  raw.socket.write(request)
  const answer = await raw.until(/\r\n\r\n.*\}$/s)
  raw.socket.destroy()
  return answer
}

test('an event of exactly the limit is taken, one byte more is not, whether or not its length was announced', async () => {
  await using ingress = await startIngress()
  for (const [bytes, status, stored] of [
    [262_144, 202, 2],
    [262_145, 413, 2],
  ] as const) {
    const body = eventOf(bytes)
    expect(body).toHaveLength(bytes)
    const announced = await ingress.call('POST', '/v1/events', { body })
    expect(announced.status).toBe(status)
    const chunked = await sendRaw(
      ingress,
      `${head('POST', '/v1/events', { ...json, 'transfer-encoding': 'chunked' })}${bytes.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
    )
    expect(chunked).toContain(`HTTP/1.1 ${status} `)
    expect(ingress.log.head()).toBe(stored)
    if (status === 413) expect(announced.json).toMatchObject({ code: 'event_too_large', detail: expect.stringContaining('262144') })
  }
})

test('what is announced as too large is refused before it is sent', async () => {
  await using ingress = await startIngress()
  expect(await sendRaw(ingress, head('POST', '/v1/events', { ...json, 'content-length': 10_000_000_000 }))).toContain('413')
})

test('a client that goes on sending after its refusal is cut off in the end', async () => {
  await using ingress = await startIngress({ lingerMs: 100 })
  const raw = await ingress.raw()
  raw.socket.write(head('POST', '/v1/events', { ...json, 'transfer-encoding': 'chunked' }))
  const flood = setInterval(() => raw.socket.write(`10000\r\n${'x'.repeat(0x10000)}\r\n`), 1)
  await raw.closed
  clearInterval(flood)
  expect(raw.received()).toContain('HTTP/1.1 413 ')
})

test('a batch has a limit of its own', async () => {
  await using ingress = await startIngress({ maxBatchBytes: 1000 })
  const batch = (bytes: number) => ({ body: `{"events":[${eventOf(bytes - '{"events":[]}'.length)}]}` })
  expect((await ingress.call('POST', '/v1/events/batch', batch(1000))).status).toBe(202)
  expect((await ingress.call('POST', '/v1/events/batch', batch(1001))).json).toMatchObject({ status: 413, code: 'event_too_large' })
})

test('an event of a batch has the limit of an event', async () => {
  await using ingress = await startIngress({ maxEventBytes: 1000 })
  const { body } = { body: `{"events":[${eventOf(500)},${eventOf(5000)}]}` }
  expect((await ingress.call('POST', '/v1/events/batch', { body })).json.results).toMatchObject([
    { status: 202 },
    { status: 413, code: 'event_too_large' },
  ])
})
