import type { Channel } from 'amqplib'
import { type OpenChannel, reasonOf } from './broker-connection.ts'

/** Messages with such a routing key flow from an exchange into the queue. */
interface Binding {
  readonly exchange: string
  readonly key: string
}

export interface TopologyOptions {
  /**
   * `assert`: what is missing is declared. `check`: nothing is declared; what is missing or different is told. `none`: the broker is not asked at all.
   */
  readonly topology: 'assert' | 'check' | 'none'
  readonly exchange: string
  readonly queue: string
  /** The name of the dead-letter exchange and of its queue. */
  readonly deadLetter: string
  /** What the queue is bound to. Exchanges other than `exchange` belong to the application: they are never declared. */
  readonly bindings: readonly Binding[]
}

/** Opens a channel that is used for one question: a broker answers "no" by closing it. */
type OpenOne = () => Promise<OpenChannel<Channel>>

/**
 * One consumer at a time, whatever the number of bridges: the order of the queue is the order of the events. What the broker itself gives up (its limit of
 * deliveries) goes to the dead letters too, and leaves the queue only when it has arrived there, for which the broker demands this overflow behaviour.
 */
const queueArguments = (deadLetter: string) => ({
  'x-queue-type': 'quorum',
  'x-single-active-consumer': true,
  'x-dead-letter-exchange': deadLetter,
  'x-dead-letter-strategy': 'at-least-once',
  'x-overflow': 'reject-publish',
})
/** Whoever looks at a dead letter takes it and gives it back, which counts as a delivery; after 20 of them RabbitMQ 4 would drop it. */
const deadLetterArguments = { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000_000 }

/** Brings the broker into the shape that is wanted, or compares it. Returns what is wrong; empty: all is well. */
export async function prepareTopology(open: OpenOne, options: TopologyOptions): Promise<readonly string[]> {
  switch (options.topology) {
    case 'assert':
      return assertAll(open, options)
    case 'check':
      return checkAll(open, options)
    case 'none':
      return []
    default:
      return options.topology satisfies never
  }
}

interface Part {
  readonly name: string
  /** Fails when there is none. */
  readonly find: (channel: Channel) => Promise<unknown>
  /** Makes it; when it is there, compares it. Absent: it belongs to the application. */
  readonly declare?: (channel: Channel) => Promise<unknown>
}

function partsOf({ exchange, queue, deadLetter, bindings }: TopologyOptions): readonly Part[] {
  const exchangePart = (name: string, type?: 'topic' | 'fanout'): Part => ({
    name: `the exchange ${name}`,
    find: (channel) => channel.checkExchange(name),
    ...(type === undefined ? {} : { declare: (channel: Channel) => channel.assertExchange(name, type, { durable: true }) }),
  })
  const queuePart = (name: string, args: object): Part => ({
    name: `the queue ${name}`,
    find: (channel) => channel.checkQueue(name),
    declare: (channel) => channel.assertQueue(name, { durable: true, arguments: args }),
  })
  return [
    // First what refused messages need: none may be consumed before they can be accounted for.
    exchangePart(deadLetter, 'fanout'),
    queuePart(deadLetter, deadLetterArguments),
    ...[...new Set(bindings.map((binding) => binding.exchange))].map((name) => exchangePart(name, name === exchange ? 'topic' : undefined)),
    queuePart(queue, queueArguments(deadLetter)),
  ]
}

async function assertAll(open: OpenOne, options: TopologyOptions): Promise<readonly string[]> {
  const problems: string[] = []
  for (const { name, find, declare } of partsOf(options)) {
    const refusal = await ask(open, declare ?? find)
    if (refusal !== undefined) problems.push(`${name} ${toProblem(refusal)}`)
  }
  if (problems.length > 0) return problems
  const binds = [
    { queue: options.deadLetter, exchange: options.deadLetter, key: '' },
    ...options.bindings.map((binding) => ({ queue: options.queue, ...binding })),
  ]
  for (const { queue, exchange, key } of binds) {
    const refusal = await ask(open, (channel) => channel.bindQueue(queue, exchange, key))
    if (refusal !== undefined) problems.push(`the binding of ${queue} to ${exchange} ${toProblem(refusal)}`)
  }
  return problems
}

/**
 * Passive questions find what is missing (404) but say nothing about type and arguments. To compare them, what was found is declared once more as it should be:
 * that changes nothing about what exists, and is refused with the difference (406). A user who may not configure (403) cannot compare; then being there is enough.
 * Bindings cannot be asked for in this protocol.
 */
async function checkAll(open: OpenOne, options: TopologyOptions): Promise<readonly string[]> {
  const problems: string[] = []
  for (const { name, find, declare } of partsOf(options)) {
    const missing = await ask(open, find)
    if (missing !== undefined) {
      problems.push(`${name} ${toProblem(missing)}`)
      continue
    }
    const different = declare === undefined ? undefined : await ask(open, declare)
    if (different !== undefined && different.code !== accessRefused) problems.push(`${name} ${toProblem(different)}`)
  }
  return problems
}

const accessRefused = 403
const notFound = 404
const inequivalent = 406

interface Refusal {
  readonly code: number
  readonly text: string
}

/** What the broker has against it, if anything. @throws Error when the connection is lost */
async function ask(open: OpenOne, question: (channel: Channel) => Promise<unknown>): Promise<Refusal | undefined> {
  const { channel, lost } = await open()
  try {
    await question(channel)
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'number') return { code: error.code, text: textOf(error) }
    throw error
  }
  // Where the connection ends meanwhile, the library never answers; the loss does.
  await Promise.race([channel.close(), lost])
  return undefined
}

/** The broker's own words, without those of the library around them. */
function textOf(error: Error): string {
  return /with message "(.*)"$/s.exec(reasonOf(error))?.[1] ?? reasonOf(error)
}

function toProblem({ code, text }: Refusal): string {
  switch (code) {
    case notFound:
      return 'is missing'
    case inequivalent:
      return `is different: ${text}`
    case accessRefused:
      return `is out of reach: ${text}`
    default:
      return `failed: ${text}`
  }
}
