/**
 * `npm run bench` measures everything, in a few minutes; `npm run bench -- NAME …` some of it.
 *   --full         the sizes of docs/performance.md, for a machine that does nothing else; a little over half an hour on four cores
 *   --markdown     prints the tables as they are in docs/performance.md; what is under way goes to stderr
 *   --rounds=3     how often each server gets its turn: medians are printed, and the lowest and the highest
 *   --profile=DIR  writes a CPU profile of each process of Sidecast
 *   --NAME=1,2     other sizes, such as --sessions=1000,6000; each file names its own
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { avalanche } from './avalanche.ts'
import { connections } from './connections.ts'
import { fanOut } from './fan-out.ts'
import { jitter } from './jitter.ts'
import { latency } from './latency.ts'
import { log } from './log.ts'
import { oneUser } from './one-user.ts'
import { slowConsumers } from './slow-consumers.ts'
import { printTable, type Table, toMarkdown } from './support/report.ts'
import type { Measurement } from './support/run.ts'
import { Servers } from './support/server.ts'

const measurements: Readonly<Record<string, Measurement>> = {
  'fan-out': fanOut,
  'one-user': oneUser,
  latency,
  connections,
  avalanche,
  jitter,
  log,
  'slow-consumers': slowConsumers,
}

/** Programs of their own, which need a RabbitMQ or a Redis or print what fits in no table: run when they are named. */
const programs: Readonly<Record<string, string>> = {
  amqp: './amqp.ts',
  'bad-tokens': './bad-tokens.ts',
  redis: './redis-log.ts',
  workers: './workers.ts',
}

const options = ['full', 'markdown', 'profile', 'rounds']
const sizeOptions = [
  'appends',
  'bursts',
  'entries',
  'events',
  'fillings',
  'rate',
  'rates',
  'rooms',
  'seconds',
  'sessions',
  'singles',
  'slow',
  'users',
  'workers',
]

const args = process.argv.slice(2)
const names = args.filter((arg) => !arg.startsWith('--'))
const set = Object.fromEntries(args.filter((arg) => arg.startsWith('--')).map((arg) => arg.slice(2).split('=', 2)))
const unknown = names.filter((name) => !(name in measurements) && !(name in programs))
if (unknown.length > 0) {
  process.stderr.write(`There is no ${unknown.join(', ')}: ${Object.keys({ ...measurements, ...programs }).join(', ')}\n`)
  process.exit(2)
}
const unknownOptions = Object.keys(set).filter((option) => ![...options, ...sizeOptions].includes(option))
if (unknownOptions.length > 0) {
  process.stderr.write(`There is no --${unknownOptions.join(', --')}: --${[...options, ...sizeOptions].join(', --')}\n`)
  process.exit(2)
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

const machine = {
  cpu: cpus()[0]?.model,
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  linux: release(),
  node: process.version,
}
const isMarkdown = 'markdown' in set
if (isMarkdown) {
  const { cpu, cores, memoryGiB, linux, node } = machine
  process.stdout.write(`${cores} cores of ${cpu}, ${memoryGiB} GiB, Linux ${linux}, Node ${node.slice(1)}.\n\n`)
}
const folder = await mkdtemp(join(tmpdir(), 'sidecast-bench-'))
const servers = new Servers({ secret: randomBytes(48).toString('base64url'), apiKey: randomBytes(32).toString('base64url') }, folder, set.profile)
try {
  for (const name of names.length > 0 ? names : Object.keys(measurements)) {
    const program = programs[name]
    if (program !== undefined) {
      const child = spawn(process.execPath, [fileURLToPath(new URL(program, import.meta.url))], { stdio: 'inherit' })
      const [code] = await once(child, 'exit')
      if (code !== 0) process.exitCode = 1
      continue
    }
    const measurement = measurements[name]
    if (measurement === undefined) continue
    const loadBefore = loadavg()[0]?.toFixed(1)
    const startedAt = performance.now()
    process.stderr.write(`${name}\n`)
    const tables: Table[] = []
    if (isMarkdown) process.stdout.write(`### ${name}\n\nLoad before it: ${loadBefore}.\n\n`)
    try {
      for await (const table of measurement({ servers, isFull: 'full' in set, set })) {
        tables.push(table)
        if (isMarkdown) process.stdout.write(`${toMarkdown(table)}\n\n`)
        else printTable(table)
      }
    } catch (error) {
      process.stderr.write(`${name} has failed: ${String(error)}\n`)
      process.exitCode = 1
    }
    const minutes = ((performance.now() - startedAt) / 60_000).toFixed(1)
    process.stderr.write(`${name} took ${minutes} minutes\n`)
    if (!isMarkdown) process.stdout.write(`${JSON.stringify({ bench: name, machine, loadBefore, minutes, tables })}\n`)
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}
