import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { createClient } from '@redis/client'
import { type Certificates, makeCertificates } from './certificates.ts'
import { freePorts } from './free-ports.ts'

function launch(args: readonly string[]) {
  const child = spawn(process.env.SIDECAST_TEST_REDIS ?? 'redis-server', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  // A test that was ended in the middle, by whatever, must not leave it behind: the shell reads until this process is gone.
  const guard = spawn('sh', ['-c', `cat >/dev/null; kill -9 ${child.pid}`], { stdio: ['pipe', 'ignore', 'ignore'] })
  child.once('exit', () => {
    guard.kill('SIGKILL')
    guard.stdin.destroy()
  })
  return child
}

/** Where the nodes of a cluster speak to each other; before Redis 7 it cannot be set. */
const clusterBusOffset = 10_000

export interface RedisOptions {
  /** Lines of a configuration: name -> value. */
  readonly config?: Readonly<Record<string, string>>
  readonly tls?: boolean
  /** Where the files lie that it begins with. */
  readonly data?: string
}

/** A real Redis on a port of its own, that may be killed and told to misbehave. */
export interface TestRedis {
  readonly port: number
  readonly url: string
  /** Where its files lie. */
  readonly directory: string
  /** Of the authority that has signed its certificate, as PEM; of one with TLS. */
  readonly ca: string | undefined
  /** What it answers to one command, given as words; texts as they are. */
  command(...words: readonly string[]): Promise<unknown>
  /** Ends it without letting it finish. */
  kill(): Promise<void>
  /** Lets it finish: it saves what it is configured to. */
  shutdown(): Promise<void>
  /** Starts it again on the same port, with the files that are there. */
  start(): Promise<void>
  /** Its process stands still, its connections stay open. */
  freeze(): void
  thaw(): void
  /** A copy of its files, as they are, for `data` of another one. */
  copyFiles(): Promise<string>
  /** Puts the files of a copy in place of its own; it must not run. */
  restoreFiles(from: string): Promise<void>
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** With an append-only file that is written before each answer, unless told otherwise. */
export async function startRedis({ config = {}, tls = false, data }: RedisOptions = {}): Promise<TestRedis> {
  const [port = 0] = await freePorts(1, config['cluster-enabled'] === 'yes' ? clusterBusOffset : 0)
  const root = await mkdtemp(join(tmpdir(), 'sidecast-redis-'))
  const directory = join(root, 'data')
  if (data === undefined) await mkdir(directory)
  else await cp(data, directory, { recursive: true })
  const certificates = tls ? await makeCertificates(root) : undefined
  const settings: Record<string, string> = {
    bind: '127.0.0.1',
    dir: directory,
    daemonize: 'no',
    save: '""',
    appendonly: 'yes',
    appendfsync: 'everysec',
    ...(certificates === undefined ? { port: `${port}` } : toTlsSettings(port, certificates)),
    ...config,
  }
  const file = join(root, 'redis.conf')
  await writeFile(
    file,
    Object.entries(settings)
      .map(([name, value]) => `${name} ${value}`)
      .join('\n'),
  )

  let child: ChildProcess | undefined
  const start = async (): Promise<void> => {
    const started = launch([file])
    child = started
    let said = ''
    for (const stream of [started.stdout, started.stderr]) stream.on('data', (chunk) => (said += chunk))
    for (let tries = 0; tries < 1000; tries++) {
      if (/Ready to accept connections/.test(said)) return
      if (started.exitCode !== null) break
      await setTimeout(10)
    }
    throw new Error(`redis-server did not start:\n${said}`)
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child
    child = undefined
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    const gone = once(ending, 'exit')
    ending.kill(signal)
    // One that was frozen hears nothing else.
    if (signal !== 'SIGKILL') ending.kill('SIGCONT')
    await gone
  }
  await start()
  const close = async (): Promise<void> => {
    await end('SIGKILL')
    await rm(root, { recursive: true, force: true })
  }
  return {
    port,
    url: `${tls ? 'rediss' : 'redis'}://127.0.0.1:${port}`,
    directory,
    ca: certificates?.ca,
    command: (...words) => command({ port, ca: certificates?.ca }, words),
    kill: () => end('SIGKILL'),
    shutdown: () => end('SIGTERM'),
    start,
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    copyFiles: async () => {
      const copy = join(root, `copy-${crypto.randomUUID()}`)
      await cp(directory, copy, { recursive: true })
      return copy
    },
    restoreFiles: async (from) => {
      await rm(directory, { recursive: true })
      await cp(from, directory, { recursive: true })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** A Redis for tests that only need one: that of SIDECAST_TEST_REDIS_URL, or a new one. Prefixes keep the tests apart. */
export async function sharedRedis(): Promise<{ readonly url: string; close(): Promise<void> }> {
  const url = process.env.SIDECAST_TEST_REDIS_URL
  return url === undefined ? startRedis() : { url, close: async () => undefined }
}

export interface SentinelSetup {
  /** How many of them must find the master gone. */
  readonly quorum?: number
  /** As whom it speaks to the Redis servers. */
  readonly login?: { readonly user: string; readonly password: string }
}

export interface Sentinel {
  readonly port: number
  command(...words: readonly string[]): Promise<unknown>
  close(): Promise<void>
}

/** A sentinel that watches a master under the name `mymaster`, and takes over fast. */
export async function startSentinel(master: { readonly port: number }, { quorum = 1, login }: SentinelSetup = {}): Promise<Sentinel> {
  const [port = 0] = await freePorts(1)
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-sentinel-'))
  const file = join(directory, 'sentinel.conf')
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${directory}`,
    `sentinel monitor mymaster 127.0.0.1 ${master.port} ${quorum}`,
    'sentinel down-after-milliseconds mymaster 500',
    // One that is given up half-way is not tried again.
    'sentinel failover-timeout mymaster 60000',
    ...(login === undefined ? [] : [`sentinel auth-user mymaster ${login.user}`, `sentinel auth-pass mymaster ${login.password}`]),
  ]
  await writeFile(file, lines.join('\n'))
  const child = launch([file, '--sentinel'])
  child.stdout.resume()
  child.stderr.resume()
  for (let tries = 0; tries < 500; tries++) {
    const replicas = await command({ port, ca: undefined }, ['SENTINEL', 'replicas', 'mymaster']).catch(() => [])
    // It knows the replicas when it has asked the master.
    if (Array.isArray(replicas) && replicas.length > 0) break
    await setTimeout(20)
  }
  return {
    port,
    command: (...words) => command({ port, ca: undefined }, words),
    close: async () => {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Resolves when each of these sentinels knows the others. */
export async function acquainted(sentinels: readonly Sentinel[]): Promise<void> {
  for (const sentinel of sentinels) {
    for (let tries = 0; ; tries++) {
      const others = await sentinel.command('SENTINEL', 'sentinels', 'mymaster')
      if (Array.isArray(others) && others.length === sentinels.length - 1) break
      if (tries === 500) throw new Error('the sentinels did not find each other')
      await setTimeout(20)
    }
  }
}

/** Resolves when a replica has everything that its master has. */
export async function inSync(master: TestRedis, replicas = 1): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const info = String(await master.command('INFO', 'replication'))
    const offset = /master_repl_offset:(\d+)/.exec(info)?.[1]
    const acknowledged = [...info.matchAll(/state=online,offset=(\d+)/g)].filter(([, at]) => at === offset)
    if (acknowledged.length >= replicas) return
    await setTimeout(20)
  }
  throw new Error('the replica did not catch up')
}

async function command({ port, ca }: { readonly port: number; readonly ca: string | undefined }, words: readonly string[]): Promise<unknown> {
  const base = { host: '127.0.0.1', port, reconnectStrategy: false } as const
  const client = createClient({
    RESP: 2,
    socket: ca === undefined ? base : { ...base, tls: true, ca },
    disableClientInfo: true,
    maintNotifications: 'disabled',
  })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return await client.sendCommand(words)
  } finally {
    client.destroy()
  }
}

function toTlsSettings(port: number, { files }: Certificates): Readonly<Record<string, string>> {
  const of = { 'tls-cert-file': files.certificate, 'tls-key-file': files.key, 'tls-ca-cert-file': files.ca }
  return { port: '0', 'tls-port': `${port}`, 'tls-auth-clients': 'no', ...of }
}
