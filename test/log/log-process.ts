import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { EventEntry } from '../../src/core/entry.ts'
import { EmbeddedLog } from '../../src/log/embedded.ts'
import { eventTo, onlyPosition, until } from './entries.ts'

// A process that holds a log, told by lines on its standard input what to do; each line is answered by one of JSON.
// Arguments: the folder, the durability, how many events are kept, and the user to become first.
const [directory = '', durability, retentionEvents, user] = process.argv.slice(2)
const failures: string[] = []

// Synchronous: what has been said has arrived, also when this process is killed at the next instruction.
function say(answer: unknown): void {
  writeSync(1, `${JSON.stringify(answer)}\n`)
}

// The log must never let a rejection go unhandled: it would end the whole bridge.
process.on('unhandledRejection', (reason) => say({ unhandled: String(reason) }))

if (user !== undefined) {
  process.setgid?.(Number(user))
  process.setuid?.(Number(user))
}

try {
  const log = await EmbeddedLog.open({
    directory,
    durability: durability === 'process' ? 'process' : 'disk',
    retentionAgeMs: 1e12,
    retentionEvents: Number(retentionEvents),
    dedupeWindowMs: 1e12,
    now: Date.now,
    onFailure: (error) => failures.push(String(error)),
    canaryMs: 20,
    sweepMs: 20,
  })
  say({ opened: log.epoch, head: log.head() })

  async function append(bytes: number, more: Partial<EventEntry> = {}): Promise<unknown> {
    const entry = eventTo('r', { data: JSON.stringify('x'.repeat(bytes)), digest: 'd', ...more })
    try {
      const position = onlyPosition(await log.append([entry]))
      return { id: entry.id, position, offset: log.offsetOf(position) }
    } catch (error) {
      return { code: error instanceof Error && 'code' in error ? error.code : String(error), health: log.health(), head: log.head() }
    }
  }

  const commands: Readonly<Record<string, (argument: number) => Promise<unknown> | unknown>> = {
    append: (bytes) => append(bytes),
    // What is in the journal and takes no room in the tables.
    volatile: (bytes) => append(bytes, { volatile: true }),
    // Always the same one.
    named: () => append(10, { id: 'named' }),
    health: () => log.health(),
    failures: () => failures,
    head: () => log.head(),
    remember: (name) => log.remember(String(name), 1e9).catch(({ code }) => ({ code })),
    appendable: () => until(() => log.health().appendable),
    unappendable: () => until(() => !log.health().appendable),
    close: () => log.close(),
    // Many callers that never stop, each waiting for its own append.
    storm: (callers) => {
      for (let caller = 0; caller < callers; caller++) void stormOn(`${caller}`, (n) => 50 + ((n * 37) % 5000))
    },
    // A few whose entries fill one half of the journal after the other.
    flood: (callers) => {
      for (let caller = 0; caller < callers; caller++) void stormOn(`flood ${caller}`, (n) => 60_000 + ((n * 7919) % 200_000))
    },
  }

  async function stormOn(caller: string, bytesOf: (n: number) => number): Promise<void> {
    for (let n = 0; ; n++) say({ caller, n, ...Object(await append(bytesOf(n))) })
  }

  for await (const line of createInterface({ input: process.stdin })) {
    const [name = '', argument = '0'] = line.split(' ')
    say({ [name]: (await commands[name]?.(Number(argument))) ?? null })
  }
} catch (error) {
  say(error instanceof Error && 'code' in error ? { code: error.code, message: error.message } : { failed: String(error) })
}
