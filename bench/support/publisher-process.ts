/** The application that publishes, in a process of its own. */
import { once } from 'node:events'
import { request } from 'node:http'
import { createInterface } from 'node:readline'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { answerOrders } from './child.ts'
import { nowMicros } from './clock.ts'
import { HttpConnection } from './http-connection.ts'
import { type Accepted, type Publication, type PublishOrder, toEvent } from './publish-order.ts'
import { publishToBroker } from './publish-to-broker.ts'

/** Lines that may wait for their answers. */
const ndjsonWindow = 4000

let connections: HttpConnection[] = []
let connectedTo = ''

function connectTo(url: string, key: string, count: number): void {
  if (connectedTo === url && connections.length === count) return
  for (const connection of connections) connection.close()
  connections = Array.from({ length: count }, () => new HttpConnection(url, key))
  connectedTo = url
}

async function publishByRequests(order: PublishOrder): Promise<Accepted> {
  const { mode, key, first, events, rate } = order
  connectTo(`${order.url}/v1/events${mode === 'batch' ? '/batch' : ''}`, key, order.connections)
  const perRequest = mode === 'batch' ? order.batch : 1
  const startedAt = nowMicros()
  let accepted = 0
  let sum = 0
  const post = async (connection: HttpConnection, from: number, to: number, dueAt: number): Promise<void> => {
    const texts = Array.from({ length: to - from }, (_, index) => toEvent(order, from + index, dueAt))
    const { status, body } = await connection.post(mode === 'batch' ? `{"events":[${texts.join(',')}]}` : (texts[0] ?? ''))
    if (status !== 202 || body.includes('"code"')) return
    accepted += to - from
    for (let number = from; number < to; number++) sum += number
  }
  /** What is due and has no connection yet. */
  const due: { readonly number: number; readonly at: number }[] = []
  let next = first
  const drain = async (connection: HttpConnection): Promise<void> => {
    while (next < first + events) {
      const from = next
      const to = Math.min(first + events, from + perRequest)
      next = to
      await post(connection, from, to, nowMicros())
    }
  }
  if (rate === undefined) await Promise.all(connections.map(drain))
  else {
    const free = [...connections]
    const work = async (connection: HttpConnection): Promise<void> => {
      for (let one = due.shift(); one !== undefined; one = due.shift()) await post(connection, one.number, one.number + 1, one.at)
      free.push(connection)
    }
    const working: Promise<void>[] = []
    let failure: unknown
    for (let number = first; number < first + events; number++) {
      const at = startedAt + Math.round(((number - first) * 1e6) / rate)
      await untilMicros(at)
      due.push({ number, at })
      const connection = free.pop()
      if (connection !== undefined) {
        working.push(
          work(connection).catch((error: unknown) => {
            failure = error
          }),
        )
      }
    }
    await Promise.all(working)
    if (failure !== undefined) throw failure
  }
  return { accepted, sum, startedAt }
}

/** Timers count whole milliseconds and may be early: the last of them is waited for turn by turn. */
async function untilMicros(at: number): Promise<void> {
  const waitMs = (at - nowMicros()) / 1000
  if (waitMs > 2) await setTimeout(waitMs - 2)
  while (nowMicros() < at) await setImmediate()
}

async function publishLines(order: PublishOrder): Promise<Accepted> {
  const { first, events } = order
  const headers = { authorization: `Bearer ${order.key}`, 'content-type': 'application/x-ndjson' }
  const call = request(`${order.url}/v1/events/batch`, { method: 'POST', headers })
  call.flushHeaders()
  const startedAt = nowMicros()
  const responded = once(call, 'response')
  let answered = 0
  let accepted = 0
  let sum = 0
  let wake: (() => void) | undefined
  const answers = responded.then(async ([response]) => {
    for await (const line of createInterface({ input: response })) {
      if (line.includes('"offset"')) {
        accepted++
        sum += first + answered
      }
      answered++
      wake?.()
    }
  })
  for (let sent = 0; sent < events; ) {
    while (sent - answered >= ndjsonWindow) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    const count = Math.min(200, events - sent)
    const text = Array.from({ length: count }, (_, index) => `${toEvent(order, first + sent + index, nowMicros())}\n`).join('')
    sent += count
    if (!call.write(text)) await once(call, 'drain')
  }
  call.end()
  await answers
  return { accepted, sum, startedAt }
}

function carryOut(order: PublishOrder): Promise<Accepted> {
  switch (order.mode) {
    case 'single':
    case 'batch':
      return publishByRequests(order)
    case 'ndjson':
      return publishLines(order)
    case 'amqp':
      return publishToBroker(order)
    default:
      return order.mode satisfies never
  }
}

answerOrders<PublishOrder, Publication>(async (order) => {
  const before = process.cpuUsage()
  const done = await carryOut(order)
  const { user, system } = process.cpuUsage(before)
  return { ...done, refused: order.events - done.accepted, cpuSeconds: (user + system) / 1e6 }
})
