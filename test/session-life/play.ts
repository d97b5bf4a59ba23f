import { setImmediate } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Draft } from '../../src/core/draft.ts'
import type { RoomAuthorizer } from '../../src/core/room-authorizer.ts'
import { Session } from '../../src/core/session.ts'
import { BridgeError, type ErrorCode } from '../../src/errors.ts'
import { answerOf } from '../auth/sign.ts'
import { retentionAgeMs, type Stage } from '../membership/stage.ts'
import type { Item } from '../support/entitlement.ts'
import { MemoryConnection } from '../support/memory-connection.ts'
import { type Command, type Connect, type Join, type Publish, type Refresh, type Revoke, rooms, type TokenSpec, usersOfClients } from './commands.ts'
import { LoginKeys } from './login-keys.ts'
import { isOver, type Life, Model, names, type Revoked, type Token, toExpiringAt, toleranceMs, type Word } from './model.ts'

const publisher = { name: 'test', scopes: ['publish', 'read', 'admin'] } as const

interface Client {
  readonly user: string
  session?: string
  /** The last thing that it has taken. */
  offset?: number
  now?: Connected | undefined
}

interface Connected {
  readonly life: Life
  readonly session: Session
  readonly connection: MemoryConnection
}

/** Decides as the command says, and counts how often it was asked. */
export class Decider implements RoomAuthorizer {
  answer: Join['decision'] = 'room_forbidden'
  asked = 0
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  async authorize() {
    this.asked++
    const right = toRight(this.answer, this.#now())
    if (typeof right === 'string') throw new BridgeError(right)
    const { until, givenAt } = right
    await setImmediate()
    return { givenAt, ...(until === Number.POSITIVE_INFINITY ? {} : { until }) }
  }
}

function toRight(answer: Join['decision'], now: number): ErrorCode | NonNullable<Word['right']> {
  switch (answer) {
    case 'ever':
      return { until: Number.POSITIVE_INFINITY, givenAt: now }
    case 'old':
      return { until: now + 4000, givenAt: now - 3000 }
    case 'room_forbidden':
    case 'unavailable':
    case 'token_expired':
      return answer
    default:
      return { until: now + answer, givenAt: now }
  }
}

/** What must be seen to happen, if a run of commands is to say anything. */
const counted = [
  'connected',
  'resumed',
  'notResumed',
  'refreshed',
  'joined',
  'left',
  'managed',
  'lifted',
  'restarted',
  'drained',
  'forgotten',
  'refused',
  'expired',
  'revoked',
  'disconnected',
  'replaced',
  'transport',
  'expiring',
  'events',
  'told',
] as const
type Counted = (typeof counted)[number]

/** One run of commands against a hub, each done before the next; a model says what must come of each. */
export class Play {
  readonly #stage: Stage
  readonly #decider: Decider
  readonly #prefix: string
  readonly #model = new Model()
  readonly #clients: readonly Client[]
  readonly #connected: Connected[] = []
  readonly #keys: LoginKeys
  /** When each session left; one that is there is not in it. */
  readonly #departed = new Map<string, number>()
  #names = 0
  readonly #counts = Object.fromEntries(counted.map((name) => [name, 0])) as Record<Counted, number>

  constructor(stage: Stage, decider: Decider, prefix: string) {
    this.#stage = stage
    this.#decider = decider
    this.#prefix = prefix
    this.#clients = usersOfClients.map((user) => ({ user }))
    this.#keys = new LoginKeys(
      () => stage.now,
      (error) => stage.failures.push(error),
    )
  }

  /** How often what has happened. */
  get counts(): Readonly<Record<string, number>> {
    return { ...this.#counts, ...this.#keys.counts }
  }

  async do(command: Command): Promise<void> {
    await this.#do(command)
    await this.#settle()
  }

  async #do(command: Command): Promise<void> {
    const { hub } = this.#stage
    switch (command.kind) {
      case 'connect':
        return this.#connect(command)
      case 'refresh':
        return this.#refresh(command)
      case 'join':
        return this.#join(command)
      case 'leave':
        return this.#leave(command.client, command.room)
      case 'set':
        await hub.setMembership(publisher, this.#name(command.user), this.#name(command.room), command.present)
        this.#say({ room: command.room, by: { user: command.user }, says: command.present ? 'in' : 'out' })
        this.#counts.managed++
        return this.#model.follow(this.#stage.now, true)
      case 'publish':
        return this.#publish(command)
      case 'revoke':
        return this.#revoke(command)
      case 'lift':
        return this.#lift(command.which)
      case 'rotate':
        return this.#keys.rotate(command.keepOld)
      case 'pass':
        return this.#stage.pass(command.ms)
      case 'cut':
        return this.#hangUp(this.#client(command.client), 'transport')
      case 'take':
        return void this.#client(command.client).now?.connection.take(command.count)
      case 'disconnect':
        return this.#disconnect(this.#client(command.client), command.all)
      case 'drain':
        return this.#drain(command.clients)
      case 'sweep':
        return this.#sweep()
      case 'restart':
        return this.#restart()
      default:
        command satisfies never
    }
  }

  /** Lets everybody take what is there, then compares. */
  async finish(): Promise<void> {
    for (
      let turn = 0;
      turn < 1000 && this.#connected.some(({ connection, session }) => connection.take(1000) > 0 || !(session.live || session.detached));
      turn++
    )
      await setImmediate()
    await this.#settle()
    for (const { connection } of this.#connected) connection.take(1000)
    for (const one of this.#connected) this.#compare(one)
    expect(this.#stage.failures.splice(0)).toEqual([])
  }

  leave(): void {
    for (const { connection } of this.#connected) connection.close('transport')
    this.#keys.verifier.close()
  }

  async #connect({ client: index, token: spec, anew, capacity }: Connect): Promise<void> {
    const { hub, log, now } = this.#stage
    const client = this.#client(index)
    const token = this.#toToken(client.user, spec)
    const identity = await answerOf(async () => {
      const identity = await this.#keys.verifier.verify(this.#sign(token))
      hub.requireUnrevoked(identity)
      return identity
    })
    if (this.#expectRefusal(identity, this.#refusalOf(token)) || typeof identity === 'string') return
    this.#noteOffset(client)
    const { session: last, offset } = client
    const resumes = !anew && last !== undefined && offset !== undefined
    const plan = resumes ? hub.planResume(this.#name(client.user), last, log.offsetOf(offset)) : undefined
    const after = plan !== undefined && 'after' in plan ? plan.after : undefined
    if (resumes) {
      const isOver = this.#model.ends.some(({ position, by }) => ('user' in by ? by.user === client.user && position > offset : by.session === last))
      expect(after === undefined, `${last} after ${offset} is over`).toBe(isOver)
    }
    const id = after !== undefined && last !== undefined ? last : this.#stage.newId()
    if (after === undefined) this.#hangUp(client, 'transport')
    else if (client.now !== undefined) this.#model.end(client.now.life, 'replaced')

    const connection = new MemoryConnection(capacity, () => hub.detach(session), after)
    const session: Session = new Session(id, identity, connection, now)
    const life: Life = {
      session: id,
      token,
      prompt: capacity === Number.POSITIVE_INFINITY,
      rooms: this.#model.roomsOf(id, token, now),
      expiringAt: toExpiringAt(token, now),
      ended: undefined,
      ready: false,
      due: [],
      told: [],
    }
    if (after !== undefined) this.#model.missed(life, after)
    if (life.prompt || after === undefined) {
      life.ready = true
      life.told.push(`ready ${[...life.rooms.keys()].toSorted()}`)
    }
    this.#model.lives.add(life)
    client.session = id
    this.#departed.delete(id)
    client.now = { life, session, connection }
    this.#connected.push(client.now)
    this.#counts.connected++
    if (after !== undefined) this.#counts.resumed++
    else if (resumes) this.#counts.notResumed++
    hub.attach(session, after === undefined ? {} : { after })
  }

  async #refresh({ client: index, token: spec, user }: Refresh): Promise<void> {
    const { now } = this.#client(index)
    if (now === undefined) return
    const { life, session } = now
    const token = this.#toToken(user === 'own' ? life.token.user : 'eve', spec)
    const answer = await answerOf(async () => this.#stage.hub.refresh(session, await this.#keys.verifier.verify(this.#sign(token))))
    const refusal = this.#refusalOf(token)
    const expected = refusal !== undefined && refusal !== 'token_revoked' ? refusal : user === 'other' ? 'token_claims' : refusal
    if (this.#expectRefusal(answer, expected)) return
    this.#counts.refreshed++
    if (token.exp !== life.token.exp) life.expiringAt = toExpiringAt(token, this.#stage.now)
    life.token = token
    if (!life.ready) for (const due of life.due) due.must &&= !due.inRoom
    this.#model.change(life, this.#model.roomsOf(life.session, token, this.#stage.now))
  }

  async #join({ client, room, decision, times }: Join): Promise<void> {
    const { now: connected } = this.#client(client)
    if (connected === undefined) return
    const { life, session } = connected
    const { now, hub } = this.#stage
    const stays = this.#model.stays(life, room)
    const asks = !stays && !this.#model.isOpen(life, room, now)
    const right = asks ? toRight(decision, now) : undefined
    this.#decider.answer = decision
    this.#decider.asked = 0
    const answers = await Promise.all(Array.from({ length: times }, () => answerOf(() => hub.roomRequests.join(session, this.#name(room)))))
    expect(this.#decider.asked, `asked about ${room}`).toBe(asks ? 1 : 0)
    const removal = this.#model.words.findLast((word) => word.room === room && 'user' in word.by && word.by.user === life.token.user)
    const refused =
      typeof right === 'string'
        ? right
        : removal?.says === 'out' && right !== undefined && right.givenAt <= removal.time
          ? 'room_forbidden'
          : undefined
    for (const answer of answers) this.#expectRefusal(answer, refused)
    if (refused !== undefined || stays) return
    this.#counts.joined++
    this.#say({ room, by: { session: life.session }, says: 'in', ...(typeof right === 'object' && { right }) })
    this.#model.follow(now, false)
  }

  async #leave(client: number, room: string): Promise<void> {
    const { now: connected } = this.#client(client)
    if (connected === undefined) return
    const { life, session } = connected
    const by = life.rooms.get(room)
    const answer = await answerOf(() => this.#stage.hub.roomRequests.leave(session, this.#name(room)))
    if (this.#expectRefusal(answer, by === 'backend' ? 'room_managed' : undefined) || by === undefined) return
    this.#counts.left++
    this.#say({ room, by: { session: life.session }, says: 'out' })
    this.#model.follow(this.#stage.now, false)
  }

  async #publish({ room, user, count, volatile }: Publish): Promise<void> {
    if (room === null && user === null) return
    const to = { users: user === null ? [] : [this.#name(user)], rooms: room === null ? [] : [this.#name(room)], sessions: [], all: false }
    const drafts = Array.from(
      { length: count },
      (): Draft => ({ event: `e${this.#names++}`, data: 'null', to, except: { users: [], sessions: [] }, volatile }),
    )
    const results = await this.#stage.hub.publish(publisher, drafts)
    for (const [index, { event: name }] of drafts.entries()) {
      const result = results[index]
      if (result === undefined || result instanceof BridgeError) throw result
      const position = this.#stage.log.positionOf(result.offset) ?? 0
      this.#model.deliver({ position, time: this.#stage.now, name, room: room ?? undefined, user: user ?? undefined, volatile })
    }
  }

  async #revoke({ by, user, jti, before, lifeMs }: Revoke): Promise<void> {
    const { now, hub } = this.#stage
    const named = { user: by.includes('user') ? user : undefined, jti: by.includes('jti') ? jti : undefined, sid: by === 'sid' ? 's1' : undefined }
    const issuedBefore = by === 'user' ? now + (before ?? 0) : before === undefined ? undefined : now + before
    // What takes the place of another is a matter of the revocations' own tests.
    const stands = [...this.#model.revoked.values()].some((one) => one.user === named.user && one.jti === named.jti && one.sid === named.sid)
    if (stands) return
    const ids = {
      ...(named.jti === undefined ? {} : { jti: this.#name(named.jti) }),
      ...(named.sid === undefined ? {} : { sid: this.#name(named.sid) }),
    }
    const expiresAt = now + lifeMs
    const { id } = await hub.revoke(publisher, {
      ...(named.user === undefined ? {} : { user: this.#name(named.user) }),
      ...ids,
      ...(issuedBefore === undefined ? {} : { issuedBefore }),
      expiresAt,
    })
    const revoked: Revoked = { id, ...named, before: issuedBefore, expiresAt }
    this.#model.revoked.set(id, revoked)
    for (const life of this.#model.lives) {
      // Whoever is there when all tokens up to now are revoked has an older one, whatever the clock of the issuer made of it.
      const isOlder = issuedBefore === undefined || issuedBefore >= now || life.token.iat < issuedBefore
      if (names(revoked, life.token) && isOlder) this.#model.end(life, 'revoked')
    }
  }

  async #lift(which: number): Promise<void> {
    const ids = [...this.#model.revoked.keys()]
    const id = ids[which % Math.max(1, ids.length)]
    if (id === undefined) return
    await this.#stage.hub.liftRevocation(publisher, id)
    this.#counts.lifted++
    this.#model.revoked.delete(id)
  }

  async #disconnect(client: Client, all: boolean): Promise<void> {
    if (client.session === undefined) return
    const by = all ? { user: client.user } : { session: client.session }
    await this.#stage.hub.disconnect(publisher, all ? { user: this.#name(client.user) } : by)
    this.#model.ends.push({ position: this.#stage.log.head(), by })
    for (const life of this.#model.lives) {
      if ('user' in by ? life.token.user === by.user : life.session === by.session) this.#model.end(life, 'disconnected')
    }
  }

  /** These are sent elsewhere; the node serves the others meanwhile, and whatever comes between this wave and the next. */
  #drain(clients: readonly number[]): void {
    for (const index of clients) {
      const { now } = this.#client(index)
      if (now === undefined) continue
      now.connection.close('draining')
      this.#model.end(now.life, 'draining')
      this.#counts.drained++
    }
  }

  /** Whoever has been away for longer than the log goes back has no rooms any more, and does not go on. */
  async #sweep(): Promise<void> {
    const { hub, log, now } = this.#stage
    await hub.sweep()
    for (const [session, departedAt] of this.#departed) {
      const hasRooms = this.#model.words.some(({ by }) => 'session' in by && by.session === session)
      if (departedAt >= now - retentionAgeMs || !hasRooms) continue
      this.#departed.delete(session)
      this.#model.ends.push({ position: log.head(), by: { session } })
      this.#counts.forgotten++
    }
    for (const [id, revoked] of this.#model.revoked) if (isOver(revoked, now)) this.#model.revoked.delete(id)
  }

  /** The node goes, with all that it still has, and another one takes over its data. */
  async #restart(): Promise<void> {
    for (const session of this.#stage.hub.sessions()) session.connection.close('draining')
    for (const life of this.#model.lives) this.#model.end(life, 'draining')
    await this.#stage.close()
    await this.#stage.open()
    this.#counts.restarted++
    // The new node cannot know since when they have been away.
    for (const session of this.#departed.keys()) this.#departed.set(session, this.#stage.now)
  }

  #hangUp(client: Client, by: 'transport'): void {
    if (client.now === undefined) return
    client.now.connection.close(by)
    if (client.now.life.ended === undefined) this.#model.end(client.now.life, by)
  }

  /** Time does what it does; then everything comes to rest. */
  async #settle(): Promise<void> {
    const { hub, now } = this.#stage
    this.#model.age(now)
    hub.expire()
    for (let turn = 0; turn < 4 || this.#connected.some(({ life, session }) => life.prompt && !session.live && !session.detached); turn++) {
      if (turn > 1000) throw new Error('a session that takes everything does not become live')
      await setImmediate()
    }
    for (const client of this.#clients) {
      this.#noteOffset(client)
      if (client.now?.session.live) client.now.life.ready = true
      if (client.now?.life.ended === undefined) continue
      this.#departed.set(client.now.life.session, now)
      client.now = undefined
    }
    for (const { life, connection } of this.#connected) expect(connection.ended, `the end of ${life.session}`).toBe(life.ended)
    this.#check()
  }

  /** Who is in which room, as far as all have read all. */
  #check(): void {
    for (const { life, session } of this.#connected) {
      if (life.ended !== undefined) continue
      const actual = [...session.rooms].map(([room, by]) => `${room} ${by}`).filter((room) => room.startsWith(this.#prefix))
      expect(actual.toSorted(), `rooms of ${life.session}`).toEqual([...life.rooms].map(([room, by]) => `${this.#name(room)} ${by}`).toSorted())
      expect(session.identity.expiresAt).toBe(life.token.exp)
    }
    const seen = [...this.#stage.hub.sessions()].map(({ id }) => id)
    expect(seen.toSorted()).toEqual([...this.#model.lives].map(({ session }) => session).toSorted())
  }

  #compare({ life, connection }: Connected): void {
    const ended = counted.find((name) => name === life.ended)
    if (ended !== undefined) this.#counts[ended]++
    this.#counts.expiring += life.told.filter((text) => text.startsWith('expiring ')).length
    const items = connection.taken
    const back = items.findIndex(({ position }, index) => position < (items[index - 1]?.position ?? 0))
    expect(back, `${life.session}: an item goes back`).toBe(-1)
    const events = items.flatMap((item) => ('event' in item ? [item.event] : []))
    this.#counts.events += events.length
    // What was on its way to a client that does not take everything at once is lost with its line.
    const whole = life.prompt || life.ended === undefined
    const last = life.due.findLastIndex(({ name }) => name === events.at(-1))
    const due = (whole ? life.due : life.due.slice(0, last + 1)).filter(({ name, must }) => must || events.includes(name))
    expect(events, `what ${life.session} got`).toEqual(due.map(({ name }) => name))
    if (!life.prompt) return
    const readyAt = items.findIndex((item) => 'ready' in item)
    const ready = items[readyAt]
    if (ready !== undefined && 'ready' in ready) {
      const early = items.slice(0, readyAt).flatMap((item) => ('room' in item ? [item.room] : []))
      expect(
        early.filter((room) => ready.ready.includes(room)),
        `${life.session}: left, and in it`,
      ).toEqual([])
    }
    const told = this.#toTold(items)
    this.#counts.told += told.length
    expect(inRuns(told), `all that ${life.session} was told`).toEqual(inRuns(life.told))
    this.#checkSum(told, life)
  }

  /** Each word about a room follows from those before it. */
  #checkSum(told: readonly string[], { session }: Life): void {
    const current = new Set<string>()
    for (const text of told) {
      const [what, room = ''] = text.split(' ')
      if (what === 'ready') for (const one of room.split(',')) current.add(one)
      if (what === 'joined') expect(current.has(room), `${session}: ${text}, and is in it`).toBe(false)
      if (what === 'left') expect(current.has(room), `${session}: ${text}, and is not in it`).toBe(true)
      if (what === 'joined') current.add(room)
      if (what === 'left') current.delete(room)
    }
  }

  /** In the words of the model. */
  #toTold(items: readonly Item[]): readonly string[] {
    const readyAt = items.findIndex((item) => 'ready' in item)
    const own = (room: string) => room.slice(this.#prefix.length)
    // It may come at any place in a long catch-up.
    const early = items.slice(0, readyAt).filter((item) => 'expiresAt' in item)
    const ordered = items.filter((item) => !early.some((other) => other === item)).toSpliced(readyAt + 1 - early.length, 0, ...early)
    return ordered.flatMap((item) => {
      if ('event' in item) return [item.event]
      if ('expiresAt' in item) return [`expiring ${item.expiresAt}`]
      if ('room' in item) return items.indexOf(item) < readyAt ? [] : [`${item.entered ? 'joined' : 'left'} ${own(item.room)} ${item.by}`]
      return [
        `ready ${item.ready
          .filter((room) => room.startsWith(this.#prefix))
          .map(own)
          .toSorted()}`,
      ]
    })
  }

  /** Whether it was refused, as it must. */
  #expectRefusal(answer: unknown, code: ErrorCode | undefined): boolean {
    expect(typeof answer === 'string' ? answer : undefined, 'the refusal').toBe(code)
    if (code !== undefined) this.#counts.refused++
    return code !== undefined
  }

  #refusalOf(token: Token): ErrorCode | undefined {
    const refusal = this.#keys.refusalOf(token)
    if (refusal !== undefined) return refusal
    if (token.exp + toleranceMs <= this.#stage.now) return 'token_expired'
    return this.#model.isRevoked(token, this.#stage.now) ? 'token_revoked' : undefined
  }

  #toToken(user: string, { rooms: claim, lifeMs, ageMs, jti, sid, foreign }: TokenSpec): Token {
    const { now } = this.#stage
    const named = rooms.filter((room) => claim.some((one) => one === room))
    return {
      user,
      rooms: named,
      grant: claim.some((one) => one === '*'),
      iat: now - ageMs,
      exp: now + lifeMs,
      jti,
      sid,
      key: this.#keys.choose(foreign),
    }
  }

  #sign({ user, rooms: named, grant, iat, exp, jti, sid, key }: Token): string {
    const claim = [...named.map((room) => this.#name(room)), ...(grant ? [`${this.#prefix}*`] : [])]
    const claims = {
      sub: this.#name(user),
      rooms: claim,
      iat: iat / 1000,
      exp: exp / 1000,
      ...(jti === undefined ? {} : { jti: this.#name(jti) }),
      ...(sid === undefined ? {} : { sid: this.#name(sid) }),
    }
    return this.#keys.sign(key, claims)
  }

  #say(word: Omit<Word, 'position' | 'time'>): void {
    this.#model.words.push({ ...word, position: this.#stage.log.head(), time: this.#stage.now })
  }

  #noteOffset(client: Client): void {
    const last = client.now?.connection.taken.at(-1)
    if (last !== undefined) client.offset = last.position
  }

  #client(index: number): Client {
    const client = this.#clients[index]
    if (client === undefined) throw new Error(`there is no client ${index}`)
    return client
  }

  /** No other run uses it. */
  #name(name: string): string {
    return `${this.#prefix}${name}`
  }
}

/** Which of the changes of rooms that come one after the other is told first is left open. */
function inRuns(told: readonly string[]): readonly string[] {
  const runs: string[][] = []
  let inRun = false
  for (const text of told) {
    const isChange = text.startsWith('joined ') || text.startsWith('left ')
    if (isChange && inRun) runs.at(-1)?.push(text)
    else runs.push([text])
    inRun = isChange
  }
  return runs.flatMap((run) => run.toSorted())
}
