import { isUtf8 } from 'node:buffer'
import type { DeadLetter } from '../amqp/dead-letter.ts'
import { loadConfig } from '../config/config.ts'
import { BridgeError } from '../errors.ts'
import { type Call, type Command, misuse, parseCall } from './command.ts'

const defaultLimit = 50

export const deadLetters: Command = {
  name: 'dead-letters',
  summary: 'lists, shows and replays the messages that could not be delivered',
  help: `sidecast dead-letters list [--limit ${defaultLimit}]
sidecast dead-letters show ID|N
sidecast dead-letters replay ID|N … | --all

Works on the queue SIDECAST_AMQP_DEAD_LETTER of the broker SIDECAST_AMQP_URL, with the configuration of "sidecast serve".

  list      the oldest letters, numbered from the head of the queue: why each is there, and what it was
  show      one letter whole, with its headers and its body
  replay    puts letters back into the queue of the bridge, as they were published, when their cause has been seen to

A letter is named by its number, its id or its message id; digits alone are a number. Numbers change when letters are removed.
AMQP cannot look at a message without taking it: while a command runs, nobody else sees the letters that it has looked at.
Afterwards they are where they were. A letter that is replayed is removed when the queue has it for certain: if that is interrupted
it may be in both, and a bridge that gets it twice knows it by its message id.

Exit code: 0 done, 1 there is no such letter or the broker does not go along, 2 the call or the configuration is wrong.`,
  async run({ args, env, cwd }) {
    const call = parseCall(args, { texts: ['limit'], switches: ['all'] })
    const task = toTask(call)
    const { amqp } = loadConfig({ args: call.configArgs, env, cwd })
    if (amqp === undefined) throw new BridgeError('invalid_config', 'SIDECAST_AMQP_URL is not set: there is no broker that could have dead letters')
    // Only here, so that the other commands do not load a client of RabbitMQ.
    const { DeadLetterQueue } = await import('../amqp/dead-letter-queue.ts')
    const onBlocked = (reason: string): void => console.error(`the broker takes nothing at the moment (${reason}); waiting`)
    const letters = await DeadLetterQueue.connect({ ...amqp, onBlocked })
    try {
      switch (task.kind) {
        case 'list':
          return await list(letters, task.limit, amqp.deadLetter)
        case 'show':
          return await show(letters, task.wanted)
        case 'replay':
          return await replay(letters, task.wanted, amqp)
        default:
          return task satisfies never
      }
    } finally {
      await letters.close()
    }
  },
}

type Letters = import('../amqp/dead-letter-queue.ts').DeadLetterQueue

/** Undefined: all. */
type Wanted = readonly string[] | undefined

type Task =
  | { readonly kind: 'list'; readonly limit: number }
  | { readonly kind: 'show'; readonly wanted: string }
  | { readonly kind: 'replay'; readonly wanted: Wanted }

/** @throws BridgeError invalid_request */
function toTask(call: Call): Task {
  const [kind, ...words] = call.words
  const [first, second] = words
  const refuse = (option: 'limit' | 'all', isGiven: boolean): void => {
    if (isGiven) throw misuse(`--${option} is not an option of ${kind}`)
  }
  switch (kind) {
    case 'list':
      refuse('all', call.isSet('all'))
      if (first !== undefined) throw misuse(`${JSON.stringify(first)} is one word too many`)
      return { kind, limit: toLimit(call.text('limit')) }
    case 'show':
      refuse('all', call.isSet('all'))
      refuse('limit', call.isSet('limit'))
      if (first === undefined || second !== undefined) throw misuse('show takes one letter: its number in the list, its id or its message id')
      return { kind, wanted: first }
    case 'replay':
      refuse('limit', call.isSet('limit'))
      if (call.isSet('all') === (first !== undefined)) throw misuse('replay takes letters by number, id or message id, or --all')
      return { kind, wanted: call.isSet('all') ? undefined : words }
    default:
      throw misuse('say what to do with the dead letters: list, show ID or replay ID')
  }
}

function toLimit(text: string | undefined): number {
  if (text === undefined) return defaultLimit
  if (!/^[1-9]\d{0,8}$/.test(text)) throw misuse(`--limit takes a whole number from 1, not ${JSON.stringify(text)}`)
  return Number(text)
}

async function list(letters: Letters, limit: number, queue: string): Promise<number> {
  let shown = 0
  const count = await letters.look(limit, (letter) => {
    shown++
    console.log(summary(letter))
  })
  if (shown === 0) console.log(`There is no dead letter in ${queue}.`)
  else if (shown < count) console.log(`… and ${count - shown} more: --limit ${count} lists them all`)
  return 0
}

function summary({ position, id, time, code, text, routingKey, content, messageId }: DeadLetter): string {
  const when = time === undefined ? 'time unknown' : time.toISOString()
  const facts = [
    `routing key ${routingKey === '' ? '(none)' : JSON.stringify(routingKey)}`,
    `${content.byteLength} bytes`,
    messageId === undefined ? 'no message id' : `message id ${JSON.stringify(messageId)}`,
    `id ${id}`,
  ]
  return `${position}  ${when}  ${printable(code)}: ${printable(text)}\n   ${printable(facts.join(', '))}`
}

async function show(letters: Letters, wanted: string): Promise<number> {
  const found: DeadLetter[] = []
  await letters.look(furthest([wanted]), (letter) => {
    if (isNamed(letter, wanted)) found.push(letter)
  })
  const [letter, another] = found
  if (letter === undefined) throw noLetter([wanted])
  if (another !== undefined)
    throw new BridgeError(
      'not_found',
      `${found.length} dead letters have the message id ${wanted}; name one by its number: ${found.map(({ position }) => position).join(', ')}`,
    )
  const { exchange, routingKey, properties, headers, content } = letter
  console.log(summary(letter))
  console.log(`\nexchange: ${printable(exchange === '' ? '(the default one)' : exchange)}\nrouting key: ${printable(routingKey)}`)
  for (const [name, table] of Object.entries({ properties, headers })) {
    console.log(`\n${name}:`)
    for (const [key, value] of Object.entries(table)) console.log(`  ${printable(key)}: ${printable(JSON.stringify(value) ?? 'null')}`)
  }
  if (isUtf8(content)) console.log(`\nbody:\n${printable(content.toString('utf8'), '\n\t')}`)
  else console.log(`\nbody, which is not UTF-8, in base64:\n${content.toString('base64')}`)
  return 0
}

async function replay(letters: Letters, wanted: Wanted, { queue }: { readonly queue: string }): Promise<number> {
  const missing = new Set(wanted)
  const count = await letters.replay(
    furthest(wanted),
    (letter) => wanted === undefined || wanted.some((name) => isNamed(letter, name)),
    (letter) => {
      for (const name of [...missing]) if (isNamed(letter, name)) missing.delete(name)
      console.log(`replayed ${letter.position} (${printable(letter.code)}), id ${printable(letter.id)}`)
    },
  )
  console.log(`${count} ${count === 1 ? 'letter is' : 'letters are'} back in ${queue}.`)
  if (missing.size > 0) throw noLetter([...missing])
  return 0
}

const isNumber = (name: string): boolean => /^\d+$/.test(name)

function isNamed({ position, id, messageId }: DeadLetter, name: string): boolean {
  return isNumber(name) ? position === Number(name) : id === name || messageId === name
}

/** How far to look: a number needs no more than the letters before it. */
function furthest(wanted: Wanted): number {
  return wanted?.every(isNumber) ? Math.max(...wanted.map(Number)) : Number.POSITIVE_INFINITY
}

function noLetter(names: readonly string[]): BridgeError {
  return new BridgeError('not_found', `there is no dead letter ${names.join(', ')} (one that somebody else is looking at cannot be seen)`)
}

/** Anybody may have published it: nothing in it may command the terminal or pretend to be a line of ours. */
function printable(text: string, allowed = ''): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (one) => (allowed.includes(one) ? one : `\\u{${one.codePointAt(0)?.toString(16)}}`))
}
