import { setImmediate } from 'node:timers/promises'
import { expect } from 'vitest'
import { EmbeddedLog } from '../../src/log/embedded.ts'
import { login as signLogin, type TestBridge } from '../support/bridge.ts'
import { connectSession, type TestSession } from '../support/client.ts'
import { Entitlement, type Item, type Line, type Login, type SentEvent } from '../support/entitlement.ts'
import { type Ask, type Command, type Connect, claims, type Publish, usersOfClients } from './commands.ts'
import { readHistory } from './read-history.ts'

interface Client {
  readonly user: string
  readonly transport: 'websocket' | 'polling'
  connection?: TestSession
  /** What its next connection will present. */
  login?: Login
  token?: string
  /** What its last attempt did present, and the place from which it asked to go on. */
  presented?: { readonly login: Login; readonly after: number | undefined }
  session?: string
  position?: number
}

interface OpenLine {
  session: string | undefined
  readonly login: Login
  readonly after?: number
  readonly items: Item[]
}

/** A stock client that is cut while it connects waits until its patience ends. */
function cut(session: TestSession | undefined): void {
  if (session?.socket.connected) session.cut()
}

function positionOf(offset: unknown): number {
  return Number(String(offset).split('-')[1])
}

/** The same commands against a bridge, with stock clients over real sockets. */
export class BridgePlay {
  readonly #bridge: TestBridge
  readonly #clients: readonly Client[]
  readonly #lines: OpenLine[] = []
  readonly #events: Omit<SentEvent, 'time'>[] = []
  readonly #answered: { readonly position: number; readonly said: object }[] = []
  #pending: Promise<unknown>[] = []
  #names = 0

  constructor(bridge: TestBridge) {
    this.#bridge = bridge
    this.#clients = usersOfClients.map((user, index) => ({ user: String(user), transport: index % 2 === 0 ? 'websocket' : 'polling' }))
  }

  async do(command: Command): Promise<void> {
    switch (command.kind) {
      case 'connect':
        return this.#connect(command)
      case 'cut':
        return cut(this.#client(command.client).connection)
      case 'set':
        return this.#set(String(command.user), command.room, command.present)
      case 'ask':
        return this.#ask(command)
      case 'publish':
        return this.#publish(command)
      case 'wait':
        if (command.until === 'turn') return setImmediate()
        await Promise.all(this.#pending.splice(0))
        // All that has been cut is back.
        await Promise.all(this.#clients.map(({ connection }) => connection?.until(() => connection.socket.connected)))
        return
      // These are for the hub alone.
      case 'take':
      case 'disconnect':
      case 'sweep':
      case 'restart':
        return
      default:
        command satisfies never
    }
  }

  /** Lets everything come to rest, ends the bridge, and compares with what its log says. */
  async finish(): Promise<number> {
    await Promise.all(this.#pending.splice(0))
    await this.#send(1, { to: { users: [], rooms: [], sessions: [], all: true }, except: { users: [], sessions: [] }, volatile: false })
    const last = this.#events.at(-1)?.name
    const connected = this.#clients.flatMap(({ connection }) => connection ?? [])
    await Promise.all(
      connected.map((session) => session.until(() => session.received.some(({ event }) => event === last) || this.#startedAfter(session, last))),
    )
    this.leave()
    await this.#bridge.stop()

    const lines = this.#lines.flatMap(toLine)
    const sessions = [...new Set(lines.map(({ session }) => session))]
    const log = await openLog(this.#bridge.directory)
    const users = [...new Set(this.#clients.map(({ user }) => user))]
    const history = readHistory(log, [...users.map((user) => ({ user })), ...sessions.map((session) => ({ session }))])
    const times = new Map<number, number>()
    const everything = log.read(
      0,
      ['all', ...users.map((user) => `user:${user}` as const), ...sessions.map((id) => `session:${id}` as const), 'room:a', 'room:b', 'room:c'],
      1e9,
    )
    if (!everything.gap) for (const { position, time } of everything.entries) times.set(position, time)
    await log.close()

    const told = new Map(history.words.map((word) => [word.position, word]))
    for (const { position, said } of this.#answered) expect(told.get(position), `what was answered to be at ${position}`).toMatchObject(said)
    const events = this.#events.map((event) => ({ ...event, time: times.get(event.position) ?? 0 })).toSorted((a, b) => a.position - b.position)
    const entitlement = new Entitlement({ ...history, events })
    for (const line of lines) entitlement.check(line)
    return lines.reduce((sum, { items }) => sum + items.length, 0)
  }

  leave(): void {
    for (const { connection } of this.#clients) connection?.socket.disconnect()
  }

  #connect({ client: index, claims: which, issued, anew }: Connect): void {
    const client = this.#client(index)
    const { rooms, grant } = claims[which] ?? claims[0]
    const iat = (Date.now() - (issued === 'now' ? 0 : 100_000)) / 1000
    client.login = {
      user: client.user,
      rooms: [`user:${client.user}`, ...rooms],
      opens: (room) => grant || rooms.some((own) => own === room),
      issuedAt: iat * 1000,
    }
    client.token = signLogin(client.user, { rooms: [...rooms, ...(grant ? ['*'] : [])], iat })
    if (client.connection !== undefined && !anew) {
      cut(client.connection)
      return
    }
    client.connection?.socket.disconnect()
    delete client.session
    delete client.position
    client.connection = this.#open(client)
  }

  #open(client: Client): TestSession {
    const connection = connectSession(this.#bridge.publicUrl, {
      transports: [client.transport],
      reconnectionDelay: 1,
      reconnectionDelayMax: 5,
      // Asked for at each attempt; the stock client adds its pid and the offset that it has.
      token: () => {
        if (client.login !== undefined) client.presented = { login: client.login, after: client.position }
        return client.token ?? ''
      },
    })
    let line: OpenLine | undefined
    connection.socket.on('connect', () => {
      const { presented } = client
      if (presented === undefined) throw new Error('connected without a login')
      const after = connection.socket.recovered ? presented.after : undefined
      line = { session: client.session, login: presented.login, items: [], ...(after === undefined ? {} : { after }) }
      this.#lines.push(line)
    })
    connection.socket.onAny((event: string, ...args: readonly unknown[]) => {
      const position = positionOf(args.at(-1))
      client.position = position
      const item = toItem(event, args[0], position)
      if (item !== undefined) line?.items.push(item)
      if (event !== 'sidecast:ready' || line === undefined) return
      client.session = Object(args[0]).session
      line.session = client.session
    })
    return connection
  }

  #set(user: string, room: string, present: boolean): void {
    const answer = this.#bridge.call(present ? 'PUT' : 'DELETE', `/v1/rooms/${room}/users/${user}`).then(({ status, body }) => {
      expect(status).toBe(202)
      this.#answered.push({ position: positionOf(body.offset), said: { by: { user }, room, present } })
    })
    this.#pending.push(answer)
  }

  #ask({ client, room, join }: Ask): void {
    const { connection } = this.#client(client)
    if (connection?.socket.connected !== true) return
    // A cut may keep the answer from coming, so nobody waits for it.
    connection.socket.emit(join ? 'sidecast:join' : 'sidecast:leave', { room })
  }

  #publish({ count, users, rooms, clients, all, exceptUsers, exceptClients, volatile }: Publish): void {
    const sessions = (indexes: readonly number[]) => indexes.flatMap((index) => this.#client(index).session ?? [])
    const to = { users: users.map(String), rooms, sessions: sessions(clients), all }
    if (!all && to.users.length + to.rooms.length + to.sessions.length === 0) return
    const except = { users: exceptUsers.map(String), sessions: sessions(exceptClients) }
    this.#pending.push(this.#send(Math.min(count, 5), { to, except, volatile }))
  }

  async #send(count: number, event: Pick<SentEvent, 'to' | 'except' | 'volatile'>): Promise<void> {
    const names = Array.from({ length: count }, () => `e${this.#names++}`)
    const { status, body } = await this.#bridge.call('POST', '/v1/events/batch', { events: names.map((name) => ({ event: name, ...event })) })
    expect(status, JSON.stringify(body)).toBe(202)
    const results = body.results as readonly { readonly offset: string }[]
    for (const [index, name] of names.entries()) this.#events.push({ name, ...event, position: positionOf(results[index]?.offset) })
  }

  /** It began anew when the last event had been published already. */
  #startedAfter({ notices, socket }: TestSession, last: string | undefined): boolean {
    const end = this.#events.find(({ name }) => name === last)?.position ?? Number.POSITIVE_INFINITY
    const ready = notices.findLast(({ event }) => event === 'sidecast:ready')
    return socket.connected && ready !== undefined && positionOf(ready.offset) >= end
  }

  #client(index: number): Client {
    const client = this.#clients[index]
    if (client === undefined) throw new Error(`there is no client ${index}`)
    return client
  }
}

function toItem(event: string, data: unknown, position: number): Item | undefined {
  if (!event.startsWith('sidecast:')) return { position, event }
  const { room, rooms } = Object(data)
  if (event === 'sidecast:ready') return { position, ready: rooms }
  return event === 'sidecast:disconnect' ? undefined : { position, room, entered: event === 'sidecast:joined' }
}

function toLine({ session, login, after, items }: OpenLine): readonly Line[] {
  // One that was cut before it was ready had come at what it got last, or later.
  const head = (items.find((item) => 'ready' in item) ?? items.at(-1))?.position
  if (session === undefined || head === undefined) return []
  return [{ session, login, head, slow: false, items, ...(after === undefined ? {} : { after }) }]
}

function openLog(directory: string): Promise<EmbeddedLog> {
  return EmbeddedLog.open({
    directory,
    durability: 'disk',
    retentionAgeMs: 1e12,
    retentionEvents: 1e9,
    dedupeWindowMs: 1e12,
    now: Date.now,
    onFailure: (error) => {
      throw error
    },
  })
}
