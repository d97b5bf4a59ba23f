import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type ChannelModel, connect } from 'amqplib'
import { type Certificates, makeCertificates } from './certificates.ts'
import { freePorts } from './free-ports.ts'

const run = promisify(execFile)

/** Debian's wrapper in /usr/sbin changes to a user that cannot write to our folder; the scripts that it wraps run as anybody. */
const binaries = ['/usr/lib/rabbitmq/bin']

/** What a user may do: regular expressions over the names of exchanges and queues. */
export interface Permissions {
  readonly configure: string
  readonly write: string
  readonly read: string
}

/** Names that no other test uses, so that many can share a broker. */
export interface Names {
  readonly exchange: string
  readonly queue: string
  readonly deadLetter: string
  /** The same as settings of a bridge, without SIDECAST_. */
  readonly settings: Readonly<Record<'AMQP_EXCHANGE' | 'AMQP_QUEUE' | 'AMQP_DEAD_LETTER', string>>
}

interface QueueState {
  /** Ready ones and those that a consumer holds. */
  readonly messages: number
  readonly ready: number
  readonly unacknowledged: number
  readonly consumers: number
  readonly durable: boolean
  readonly arguments: Readonly<Record<string, unknown>>
}

/**
 * A RabbitMQ for tests, shared by the tests of one file: `const broker = await startBroker()` and `afterAll(() => broker.close())`.
 * It takes seconds to start. What is marked "owned" is refused by a broker that was given with SIDECAST_TEST_AMQP_URL:
 * a test that needs it asks for `startBroker({ owned: true })`.
 */
export interface Broker {
  /** With the user that may do everything. */
  readonly url: string
  readonly host: string
  readonly port: number
  /** Where it listens with TLS, as 127.0.0.1, and the authority that has signed for it; only when that was asked for. */
  readonly tls: { readonly port: number; readonly ca: string } | undefined
  /** Started here, so it may be killed, stopped and told to misbehave. */
  readonly owned: boolean
  /** The address for another user, or through another port such as a proxy's. */
  urlFor(other: { readonly user?: string; readonly password?: string; readonly port?: number }): string
  /** A connection that ends with the broker at the latest, and whose errors are nobody's business. */
  connect(url?: string): Promise<ChannelModel>
  names(): Names
  /** Undefined when there is none of that name. Owned. */
  queue(name: string): Promise<QueueState | undefined>
  /** Resolves when the given test of a queue holds. Owned. */
  untilQueue(name: string, holds: (state: QueueState) => boolean): Promise<QueueState>

  /** SIGKILL. Owned, as all that follows. */
  kill(): Promise<void>
  /** Starts it again on the same ports and data, after a SIGKILL if it still runs. Resolves when it takes connections. */
  restart(): Promise<void>
  /** SIGSTOP: it is silent and its connections stay open. */
  stop(): void
  cont(): void
  /** With the alarm every connection that publishes is blocked. */
  setMemoryAlarm(on: boolean): Promise<void>
  addUser(name: string, password: string, permissions?: Permissions): Promise<void>
  setPermissions(name: string, permissions: Permissions): Promise<void>
  clearPermissions(name: string): Promise<void>
  changePassword(name: string, password: string): Promise<void>
  deleteUser(name: string): Promise<void>
  /** Closes every client connection from the broker's side (320 CONNECTION_FORCED). */
  closeConnections(): Promise<void>
  /** How many client connections there are. */
  connections(): Promise<number>
  /** rabbitmqctl; resolves to what it printed. */
  ctl(...args: readonly string[]): Promise<string>
  /** An Erlang expression evaluated by the broker. */
  evaluate(expression: string): Promise<string>

  close(): Promise<void>
}

/**
 * `owned`: what the tests do to it needs one of their own, whatever SIDECAST_TEST_AMQP_URL says.
 * @throws when there is no RabbitMQ, or it does not start
 */
export async function startBroker({ owned = false, tls = false }: { readonly owned?: boolean; readonly tls?: boolean } = {}): Promise<Broker> {
  const given = process.env.SIDECAST_TEST_AMQP_URL ?? ''
  return owned || tls || given === '' ? startOwned(tls) : openGiven(given)
}

async function startOwned(withTls: boolean): Promise<Broker> {
  const folder = binaries.find((path) => existsSync(join(path, 'rabbitmq-server')))
  const program = (name: string): string => (folder === undefined ? name : join(folder, name))
  const [port = 0, distribution = 0, epmdPort = 0, control = 0, tlsPort = 0] = await freePorts(5)
  const home = await mkdtemp(join(tmpdir(), 'sidecast-broker-'))
  await mkdir(join(home, 'home'))
  await writeFile(join(home, 'home', '.erlang.cookie'), randomBytes(20).toString('hex'), { mode: 0o400 })
  const certificates = withTls ? await makeCertificates(home) : undefined
  if (certificates !== undefined) await writeFile(join(home, 'rabbitmq.conf'), toTlsSettings(tlsPort, certificates))
  const env = {
    ...process.env,
    HOME: join(home, 'home'),
    // Ours alone: a daemon that the first node starts would outlive the tests.
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `sidecast-${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distribution),
    // The first that is free: several may run at once.
    RABBITMQ_CTL_DIST_PORT_MIN: String(control),
    RABBITMQ_CTL_DIST_PORT_MAX: String(control + 20),
    RABBITMQ_MNESIA_BASE: join(home, 'data'),
    RABBITMQ_LOG_BASE: join(home, 'log'),
    RABBITMQ_PID_FILE: join(home, 'pid'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(home, 'plugins'),
    RABBITMQ_FEATURE_FLAGS_FILE: join(home, 'feature-flags'),
    // The machine's own configuration is not for us. None at all also starts seconds faster.
    RABBITMQ_CONF_ENV_FILE: join(home, 'none'),
    RABBITMQ_CONFIG_FILE: join(home, withTls ? 'rabbitmq.conf' : 'none'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(home, 'none'),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_CTL_ERL_ARGS: '-start_epmd false',
    // The script becomes the server, so a signal to the child is a signal to the server.
    RUNNING_UNDER_SYSTEMD: '1',
    ERL_CRASH_DUMP_BYTES: '0',
  }
  const guard = new Guard(home)
  const epmd = spawn('epmd', ['-port', String(epmdPort), '-address', '127.0.0.1'], { stdio: 'ignore' })
  const failed = once(epmd, 'error').then(([error]) => Promise.reject(error))
  await Promise.race([failed, once(epmd, 'spawn')])
  let server: ChildProcess | undefined
  const watch = (): void => guard.watch([epmd, server])
  watch()

  const kill = async (): Promise<void> => {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'exit')
    server.kill('SIGKILL')
    await ended
  }
  const start = async (): Promise<void> => {
    await kill()
    let said = ''
    const child = spawn(program('rabbitmq-server'), [], { env, cwd: home, stdio: ['ignore', 'pipe', 'pipe'] })
    server = child
    watch()
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said = `${said}${chunk}`.slice(-4000)))
    child.on('error', (error) => (said += error.message))
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) throw new Error(`RabbitMQ does not start: ${said}`)
      if (await takesConnections(url)) return
      await setTimeout(50)
    }
  }
  const ctl = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await run(program('rabbitmqctl'), ['--quiet', ...args], { env, cwd: home })
    return stdout.trim()
  }

  const url = `amqp://guest:guest@127.0.0.1:${port}`
  const connections = new Connections(url)
  const setPermissions: Broker['setPermissions'] = async (name, { configure, write, read }) => {
    await ctl('set_permissions', name, configure, write, read)
  }
  const queue: Broker['queue'] = async (name) => {
    const listed: readonly Readonly<Record<string, unknown>>[] = JSON.parse(
      await ctl('list_queues', '--formatter=json', 'name', 'type', 'durable', 'arguments'),
    )
    const found = listed.find((row) => row.name === name)
    if (found === undefined) return undefined
    const counts = /quorum/.test(String(found.type)) ? quorumCounts(name) : classicCounts(name)
    const [ready = 0, unacknowledged = 0, consumers = 0] = (await ctl('eval', counts)).match(/\d+/g)?.map(Number) ?? []
    const table: readonly (readonly [string, string, unknown])[] = Array.isArray(found.arguments) ? found.arguments : []
    return {
      messages: ready + unacknowledged,
      ready,
      unacknowledged,
      consumers,
      durable: found.durable === true,
      arguments: Object.fromEntries(table.map(([key, , value]) => [key, value])),
    }
  }
  const broker: Broker = {
    url,
    host: '127.0.0.1',
    port,
    tls: certificates && { port: tlsPort, ca: certificates.ca },
    owned: true,
    urlFor: ({ user = 'guest', password = 'guest', port: other = port }) =>
      `amqp://${encodeURIComponent(user)}:${encodeURIComponent(password)}@127.0.0.1:${other}`,
    connect: (other) => connections.open(other),
    names: newNames,
    queue,
    async untilQueue(name, holds) {
      for (;;) {
        const state = await queue(name)
        if (state !== undefined && holds(state)) return state
        await setTimeout(50)
      }
    },
    kill,
    restart: start,
    stop: () => void server?.kill('SIGSTOP'),
    cont: () => void server?.kill('SIGCONT'),
    setMemoryAlarm: async (on) => void (await ctl('set_vm_memory_high_watermark', on ? '0.000001' : '0.4')),
    async addUser(name, password, permissions = { configure: '.*', write: '.*', read: '.*' }) {
      await ctl('add_user', name, password)
      await setPermissions(name, permissions)
    },
    setPermissions,
    clearPermissions: async (name) => void (await ctl('clear_permissions', name)),
    changePassword: async (name, password) => void (await ctl('change_password', name, password)),
    deleteUser: async (name) => void (await ctl('delete_user', name)),
    closeConnections: async () => void (await ctl('close_all_connections', 'closed by the test')),
    connections: async () => JSON.parse(await ctl('list_connections', '--formatter=json', 'pid')).length,
    ctl,
    evaluate: (expression) => ctl('eval', expression),
    async close() {
      await connections.close()
      await kill()
      const ended = once(epmd, 'exit')
      epmd.kill('SIGKILL')
      await ended
      await guard.release()
    },
  }
  try {
    await start()
    return broker
  } catch (error) {
    const log = await readFile(join(home, 'log', `sidecast-${port}@localhost.log`), 'utf8').catch(() => '')
    await broker.close()
    throw new Error(`${error instanceof Error ? error.message : error}\n${log.slice(-4000)}`)
  }
}

function toTlsSettings(port: number, { files }: Certificates): string {
  const ofFiles = [`cacertfile = ${files.ca}`, `certfile = ${files.certificate}`, `keyfile = ${files.key}`]
  const options = [...ofFiles, 'verify = verify_none', 'fail_if_no_peer_cert = false'].map((option) => `ssl_options.${option}`)
  return [`listeners.ssl.1 = 127.0.0.1:${port}`, ...options, ''].join('\n')
}

async function openGiven(url: string): Promise<Broker> {
  const { hostname, port } = new URL(url)
  const connections = new Connections(url)
  const names: Names[] = []
  const refuse = (): never => {
    throw new Error('this test needs a broker of its own: unset SIDECAST_TEST_AMQP_URL')
  }
  await (await connections.open()).close()
  return {
    url,
    host: hostname,
    port: Number(port || 5672),
    tls: undefined,
    owned: false,
    urlFor(other) {
      if (other.user !== undefined) refuse()
      const changed = new URL(url)
      changed.port = String(other.port ?? changed.port)
      return changed.href
    },
    connect: (other) => connections.open(other),
    names() {
      const added = newNames()
      names.push(added)
      return added
    },
    queue: refuse,
    untilQueue: refuse,
    kill: refuse,
    restart: refuse,
    stop: refuse,
    cont: refuse,
    setMemoryAlarm: refuse,
    addUser: refuse,
    setPermissions: refuse,
    clearPermissions: refuse,
    changePassword: refuse,
    deleteUser: refuse,
    closeConnections: refuse,
    connections: refuse,
    ctl: refuse,
    evaluate: refuse,
    async close() {
      const channel = await (await connections.open()).createChannel()
      for (const { exchange, queue, deadLetter } of names) {
        for (const name of [queue, deadLetter]) await channel.deleteQueue(name)
        for (const name of [exchange, deadLetter]) await channel.deleteExchange(name)
      }
      await connections.close()
    },
  }
}

function newNames(): Names {
  const prefix = `sidecast-${randomBytes(6).toString('hex')}`
  const [exchange, queue, deadLetter] = [prefix, `${prefix}.events`, `${prefix}.dead-letter`]
  return { exchange, queue, deadLetter, settings: { AMQP_EXCHANGE: exchange, AMQP_QUEUE: queue, AMQP_DEAD_LETTER: deadLetter } }
}

const lookup = (name: string): string => `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"${name}">>))`

/** From the queue itself: what is listed is seconds old, and gone after a restart. */
function quorumCounts(name: string): string {
  const counts =
    '[F(S) || F <- [fun rabbit_fifo:query_messages_total/1, fun rabbit_fifo:query_messages_checked_out/1, fun rabbit_fifo:query_consumer_count/1]]'
  return `${lookup(name)}, {ok, {_, [All, Held, Consumers]}, _} = ra:leader_query(amqqueue:get_pid(Q), fun(S) -> ${counts} end), Out = if is_map(Held) -> map_size(Held); true -> Held end, {All - Out, Out, Consumers}.`
}

function classicCounts(name: string): string {
  return `${lookup(name)}, [{_, Ready}, {_, Out}, {_, Consumers}] = rabbit_amqqueue:info(Q, [messages_ready, messages_unacknowledged, consumers]), {Ready, Out, Consumers}.`
}

async function takesConnections(url: string): Promise<boolean> {
  try {
    const connection = await connect(url)
    connection.on('error', () => undefined)
    await connection.close()
    return true
  } catch {
    return false
  }
}

class Connections {
  readonly #url: string
  readonly #open = new Set<ChannelModel>()

  constructor(url: string) {
    this.#url = url
  }

  async open(url = this.#url): Promise<ChannelModel> {
    const connection = await connect(url, { noDelay: true })
    this.#open.add(connection)
    connection.on('error', () => undefined)
    connection.on('close', () => this.#open.delete(connection))
    return connection
  }

  async close(): Promise<void> {
    const closed = Promise.all([...this.#open].map((connection) => connection.close().catch(() => undefined)))
    // One that is lost while it closes never says so.
    await Promise.race([closed, setTimeout(1000)])
  }
}

/** Ends what was started and removes its folder, however this process ends: it learns that from its standard input. */
class Guard {
  readonly #child: ChildProcess

  constructor(folder: string) {
    const script = 'while read line; do pids=$line; done; [ -z "$pids" ] || kill -9 $pids 2>/dev/null; sleep 0.1; rm -rf -- "$0"'
    // In a session of its own, so that Ctrl-C leaves it its work.
    this.#child = spawn('sh', ['-c', script, folder], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
    this.#child.stdin?.on('error', () => undefined)
  }

  watch(children: readonly (ChildProcess | undefined)[]): void {
    const pids = children.flatMap((child) => (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null ? [] : [child.pid]))
    this.#child.stdin?.write(`${pids.join(' ')}\n`)
  }

  async release(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.watch([])
    this.#child.stdin?.end()
    await ended
  }
}
