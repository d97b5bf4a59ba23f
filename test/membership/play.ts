import { setImmediate } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Draft } from '../../src/core/draft.ts'
import type { Identity } from '../../src/core/identity.ts'
import { parseRoomPattern } from '../../src/core/room-pattern.ts'
import { Session } from '../../src/core/session.ts'
import { BridgeError } from '../../src/errors.ts'
import { Entitlement, type Line, type Login, type SentEvent } from '../support/entitlement.ts'
import { MemoryConnection } from '../support/memory-connection.ts'
import { type Ask, type Command, type Connect, claims, type Publish, usersOfClients } from './commands.ts'
import { readHistory } from './read-history.ts'
import type { Stage } from './stage.ts'

const publisher = { name: 'test', scopes: ['publish', 'read', 'admin'] } as const

interface Connected {
  readonly line: Line & { leftAt?: number }
  readonly session: Session
  readonly connection: MemoryConnection
  /** The last request about each room, with its answer. */
  readonly asked: Map<string, { readonly join: boolean; ok?: boolean }>
}

interface Client {
  readonly user: string
  session?: string
  offset?: number
  now?: Connected | undefined
}

interface Answered {
  readonly position: number
  readonly said: object
}

/** One run of commands against a hub, with clients, users and rooms of its own; afterwards it is held against the promises. */
export class Play {
  readonly #stage: Stage
  readonly #prefix: string
  readonly #clients: readonly Client[]
  readonly #connected: Connected[] = []
  readonly #events: (SentEvent & { readonly matched: number | null })[] = []
  readonly #answered: Answered[] = []
  /** Which resumes were granted, to be judged when all is known. */
  readonly #resumes: { readonly line: Pick<Line, 'login' | 'session' | 'head'>; readonly after: number; readonly granted: boolean }[] = []
  #pending: Promise<unknown>[] = []
  #names = 0

  constructor(stage: Stage, prefix: string) {
    this.#stage = stage
    this.#prefix = prefix
    this.#clients = usersOfClients.map((user) => ({ user: this.#name(user) }))
  }

  async do(command: Command): Promise<void> {
    switch (command.kind) {
      case 'connect':
        return this.#connect(command)
      case 'cut':
        return this.#client(command.client).now?.connection.close('transport')
      case 'take':
        return void this.#client(command.client).now?.connection.take(command.count)
      case 'set':
        return this.#set(this.#name(command.user), this.#name(command.room), command.present)
      case 'ask':
        return this.#ask(command)
      case 'publish':
        return this.#publish(command)
      case 'disconnect':
        return this.#disconnect(this.#client(command.client), command.all)
      case 'sweep':
        return void this.#pending.push(this.#stage.hub.sweep())
      case 'wait':
        if (command.until === 'turn') return setImmediate()
        await this.#settle()
        if (command.until === 'later') this.#stage.pass()
        return
      case 'restart':
        return this.#restart()
      default:
        command satisfies never
    }
  }

  /** Lets everything come to rest, then compares. */
  async finish(): Promise<void> {
    await this.#settle()
    // For everybody: who has this one has all that came before.
    await this.#send([{ to: { users: [], rooms: [], sessions: [], all: true }, except: { users: [], sessions: [] }, volatile: false }])
    const end = this.#stage.log.head()
    const connected = this.#clients.flatMap(({ now }) => now ?? [])
    for (let turn = 0; turn < 1000 && connected.some(({ line }) => line.items.at(-1)?.position !== end); turn++) {
      for (const { connection } of connected) connection.take(1000)
      await setImmediate()
    }
    for (const { line } of connected) expect(line.items.at(-1)?.position, `${line.session} is at the end`).toBe(end)

    const lines = this.#connected.map(({ line }) => line)
    const sessions = [...new Set(lines.map(({ session }) => session))]
    const history = readHistory(this.#stage.log, [...this.#clients.map(({ user }) => ({ user })), ...sessions.map((session) => ({ session }))])
    const told = new Map([...history.words, ...history.ends].map((said) => [said.position, said]))
    for (const { position, said } of this.#answered) expect(told.get(position), `what was answered to be at ${position}`).toMatchObject(said)
    const entitlement = new Entitlement({ ...history, events: this.#events.toSorted((a, b) => a.position - b.position) })
    for (const line of lines) entitlement.check(line)
    const miscounted = this.#events.find((event) => event.matched !== entitlement.matched(lines, event))
    expect(miscounted?.matched, `matched by ${miscounted?.name}`).toBe(miscounted && entitlement.matched(lines, miscounted))
    for (const { line, after, granted } of this.#resumes)
      expect(granted, `${line.session} resumes after ${after} at ${line.head}`).toBe(entitlement.mayResume(line, after))
    for (const one of connected) this.#checkRequests(one, entitlement, end)
    expect(this.#stage.failures.splice(0)).toEqual([])
  }

  /** Leaves the hub to the next run. */
  async leave(): Promise<void> {
    await this.#settle()
    for (const { connection } of this.#connected) connection.close('transport')
  }

  counts(): Readonly<Record<string, number>> {
    const received = this.#connected.reduce((sum, { line }) => sum + line.items.length, 0)
    return { events: this.#events.length, words: this.#answered.length, connections: this.#connected.length, resumes: this.#resumes.length, received }
  }

  #connect({ client: index, claims: which, issued, anew, capacity }: Connect): void {
    const { hub, log, now } = this.#stage
    const client = this.#client(index)
    const { rooms, grant } = claims[which] ?? claims[0]
    const pattern = parseRoomPattern(`${this.#prefix}:*`)
    const identity: Identity = {
      user: client.user,
      rooms: rooms.map((room) => this.#name(room)),
      grants: grant && pattern !== undefined ? [pattern] : [],
      ...(issued === 'unknown' ? {} : { issuedAt: issued === 'now' ? now : now - 1500 }),
    }
    const login: Login = { ...identity, opens: (room) => grant || identity.rooms.includes(room) }
    this.#noteOffset(client)
    const head = log.head()
    let after: number | undefined
    if (!anew && client.session !== undefined && client.offset !== undefined) {
      const plan = hub.planResume(client.user, client.session, log.offsetOf(client.offset))
      if ('after' in plan) after = plan.after
      this.#resumes.push({ line: { login, session: client.session, head }, after: client.offset, granted: after !== undefined })
    }
    // One that goes on leaves its line half-open behind; the hub has to notice.
    if (after === undefined) client.now?.connection.close('transport')
    const id = after !== undefined && client.session !== undefined ? client.session : this.#stage.newId()
    client.session = id
    const connection = new MemoryConnection(capacity, () => {
      hub.detach(session)
      connected.line.leftAt = log.head()
      this.#noteOffset(client)
      if (client.now === connected) client.now = undefined
    })
    const session: Session = new Session(id, identity, connection, now)
    const line = {
      session: id,
      login,
      head,
      slow: capacity !== Number.POSITIVE_INFINITY,
      items: connection.taken,
      ...(after === undefined ? {} : { after }),
    }
    const connected: Connected = { line, session, connection, asked: new Map() }
    this.#connected.push(connected)
    hub.attach(session, after === undefined ? {} : { after })
    client.now = connected
  }

  /** The client keeps the last offset that it saw on any line. */
  #noteOffset(client: Client): void {
    const last = client.now?.line.items.at(-1)
    if (last !== undefined) client.offset = last.position
  }

  #set(user: string, room: string, present: boolean): void {
    this.#pending.push(
      this.#stage.hub.setMembership(publisher, user, room, present).then((offset) => this.#answer(offset, { by: { user }, room, present })),
    )
  }

  #ask({ client, room: name, join }: Ask): void {
    const { now } = this.#client(client)
    if (now === undefined) return
    const room = this.#name(name)
    const request: { readonly join: boolean; ok?: boolean } = { join }
    now.asked.set(room, request)
    const { hub } = this.#stage
    const answer = (join ? hub.roomRequests.join(now.session, room) : hub.roomRequests.leave(now.session, room)).then(
      () => {
        request.ok = true
      },
      (error: unknown) => {
        expect(error).toBeInstanceOf(BridgeError)
        expect(error).toMatchObject({ code: join ? 'room_forbidden' : 'room_managed' })
        request.ok = false
      },
    )
    this.#pending.push(answer)
  }

  #publish({ count, users, rooms, clients, all, exceptUsers, exceptClients, volatile }: Publish): void {
    const sessions = (indexes: readonly number[]) => indexes.flatMap((index) => this.#client(index).session ?? [])
    const to = { users: users.map((user) => this.#name(user)), rooms: rooms.map((room) => this.#name(room)), sessions: sessions(clients), all }
    if (!all && to.users.length + to.rooms.length + to.sessions.length === 0) return
    const except = { users: exceptUsers.map((user) => this.#name(user)), sessions: sessions(exceptClients) }
    this.#pending.push(this.#send(Array.from({ length: count }, () => ({ to, except, volatile }))))
  }

  async #send(events: readonly Pick<SentEvent, 'to' | 'except' | 'volatile'>[]): Promise<void> {
    const { now: time, log, hub } = this.#stage
    const drafts = events.map((event): Draft => ({ event: `${this.#prefix}-${this.#names++}`, data: 'null', ...event }))
    const results = await hub.publish(publisher, drafts)
    for (const [index, { event: name, to, except, volatile }] of drafts.entries()) {
      const result = results[index]
      if (result === undefined || result instanceof BridgeError) throw result
      const position = log.positionOf(result.offset) ?? 0
      this.#events.push({ name, to, except, volatile, time, position, matched: result.matched })
    }
  }

  #disconnect({ user, session }: Client, all: boolean): void {
    if (session === undefined) return
    const by = all ? { user } : { session }
    this.#pending.push(this.#stage.hub.disconnect(publisher, by).then((offset) => this.#answer(offset, { by })))
  }

  async #restart(): Promise<void> {
    await this.#settle()
    for (const client of this.#clients) client.now?.connection.close('transport')
    await this.#stage.close()
    await this.#stage.open()
  }

  #answer(offset: string, said: object): void {
    this.#answered.push({ position: this.#stage.log.positionOf(offset) ?? 0, said })
  }

  /** A client that asks for several things without waiting means the last one. */
  #checkRequests({ line, asked }: Connected, entitlement: Entitlement, end: number): void {
    // What it had asked for on a line before may come in later.
    if (this.#connected.filter((other) => other.line.session === line.session).length > 1) return
    for (const [room, { join, ok }] of asked)
      if (ok === true && !entitlement.isManaged(line, room))
        expect(entitlement.isIn(line, room, end), `${line.session} asked last about ${room}`).toBe(join)
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#pending.splice(0))
  }

  #client(index: number): Client {
    const client = this.#clients[index]
    if (client === undefined) throw new Error(`there is no client ${index}`)
    return client
  }

  /** No other run uses it. */
  #name(name: string | number): string {
    return `${this.#prefix}:${name}`
  }
}
