import { setTimeout } from 'node:timers/promises'
import { expect } from 'vitest'
import { apiKey, login } from './bridge.ts'
import { connectSession, type TestSession } from './client.ts'
import type { Random } from './random.ts'

const users = ['ada', 'ben', 'cem', 'dea'] as const
/** Who is in a room because the login says so, because the backend has said so, or because its session has asked. */
const byToken: readonly string[] = ['ada', 'ben']
export const byBackend: readonly string[] = ['ben', 'cem']
export const rooms = { token: 'team', backend: 'project', request: 'page:1' } as const

export interface Client {
  readonly name: string
  readonly user: string
  readonly asks: boolean
  readonly session: TestSession
}

interface Target {
  readonly to: { readonly users?: readonly string[]; readonly rooms?: readonly string[]; readonly all?: boolean }
  readonly except?: { readonly users: readonly string[] }
}

interface Posted extends Target {
  readonly id: string
  readonly event: string
  readonly data: { readonly publisher: string; readonly number: number; readonly filling: string }
}

/** What the bridge has taken upon itself. */
interface Accepted {
  readonly posted: Posted
  readonly position: number
}

/** The wishes of the application, each kept until it is answered: what a careful program does that must not lose an event. */
export class Publisher {
  readonly accepted: Accepted[] = []
  readonly #name: string
  readonly #url: () => string
  readonly #random: Random
  /** Ends what has to end when the test fails half-way. */
  readonly #signal: AbortSignal
  retries = 0
  duplicates = 0
  #number = 0

  /** `url`: of the bridge, or which one it turns to with its next request. */
  constructor(name: string, url: string | (() => string), random: Random, signal: AbortSignal) {
    this.#name = name
    this.#url = typeof url === 'string' ? () => url : url
    this.#random = random
    this.#signal = signal
  }

  async publishSome(): Promise<void> {
    const way = this.#random.pick(['single', 'batch', 'lines'])
    const events = Array.from({ length: way === 'single' ? 1 : this.#random.between(2, 30) }, () => this.#draft())
    const results = await this.#insist(way, events)
    for (const [index, posted] of events.entries()) {
      const { offset, duplicate } = results[index] ?? {}
      expect(results[index]).toMatchObject({ id: posted.id })
      if (duplicate === true) this.duplicates++
      this.accepted.push({ posted, position: positionOf(String(offset)) })
    }
  }

  #draft(): Posted {
    const { pick, chance, between } = this.#random
    const number = this.#number++
    const target = pick<() => Target>([
      () => ({ to: { users: [pick(users)] } }),
      () => ({ to: { users: [pick(users), pick(users)] } }),
      () => ({ to: { rooms: [pick(Object.values(rooms))] } }),
      () => ({ to: { rooms: [rooms.token, rooms.backend], users: [pick(users)] } }),
      () => ({ to: { rooms: [pick(Object.values(rooms))] }, except: { users: [pick(users)] } }),
      () => ({ to: { all: true }, ...(chance(0.5) ? { except: { users: [pick(users)] } } : {}) }),
    ])()
    const data = { publisher: this.#name, number, filling: 'x'.repeat(chance(0.1) ? between(1000, 20_000) : between(0, 100)) }
    return { id: `${this.#name}-${number}`, event: 'changed', data, ...target }
  }

  /** Until there is an answer that says that all is stored, the same events go out again under the same ids. */
  async #insist(way: string, events: readonly Posted[]): Promise<readonly { readonly offset?: string; readonly duplicate?: boolean }[]> {
    for (;;) {
      try {
        const results = await this.#post(way, events)
        if (results !== undefined) return results
      } catch (error) {
        // No answer: it may or may not be stored.
        if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error
      }
      this.retries++
      await setTimeout(this.#random.between(5, 60), undefined, { signal: this.#signal })
    }
  }

  async #post(way: string, events: readonly Posted[]) {
    const [path, type, body] =
      way === 'single'
        ? ['', 'application/json', JSON.stringify(events[0])]
        : way === 'batch'
          ? ['/batch', 'application/json', JSON.stringify({ events })]
          : ['/batch', 'application/x-ndjson', events.map((event) => `${JSON.stringify(event)}\n`).join('')]
    const headers = { authorization: `Bearer ${apiKey}`, 'content-type': type }
    const response = await fetch(`${this.#url()}/v1/events${path}`, { method: 'POST', headers, body })
    const text = await response.text()
    if (response.status === 503) return undefined
    expect(response.status, text).toBe(202)
    const results: readonly { readonly status?: number; readonly offset?: string; readonly duplicate?: boolean }[] =
      way === 'single'
        ? [JSON.parse(text)]
        : way === 'batch'
          ? JSON.parse(text).results
          : text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
    const done = results.length === events.length && results.every(({ status = 202 }) => status === 202)
    return done ? results : undefined
  }
}

function positionOf(offset: string): number {
  return Number(offset.split('-')[1])
}

/** How often the client was told that it does not go on where it was. */
export function timesTold({ notices }: TestSession): number {
  const readies = notices.filter(({ event }) => event === 'sidecast:ready')
  return readies.slice(1).filter(({ data }) => Object(data).recovered === false).length
}

/** A stretch in which a client must get everything: from the position at which it began, or was told that it begins anew. */
interface Stretch {
  readonly from: number
  /** Up to where; absent: for ever. */
  readonly to?: number
  /** From where on it was in the room that it asks for. */
  readonly asked: number
  /** From where on it may have been: its connection was lost before it heard. */
  readonly perhapsAsked: number
}

function stretchesOf({ asks, session: { notices } }: Client): readonly Stretch[] {
  const begins = notices.flatMap(({ event, data, offset }, index) =>
    event === 'sidecast:ready' && !Object(data).recovered ? [{ from: positionOf(offset), index }] : [],
  )
  return begins.map(({ from, index }, at) => {
    const next = begins[at + 1]
    const own = notices.slice(index, next?.index)
    const heard = ({ event, data }: (typeof own)[number]): boolean =>
      event === 'sidecast:joined' ? Object(data).room === rooms.request : event === 'sidecast:ready' && Object(data).rooms.includes(rooms.request)
    const joined = asks ? own.find(heard) : undefined
    const asked = joined === undefined ? Number.POSITIVE_INFINITY : positionOf(joined.offset)
    // After a told loss it asks again in a moment; it may be cut off before it hears that it has been let in, and be told anew then.
    return { from, asked, perhapsAsked: asks && joined?.event !== 'sidecast:joined' ? from : asked, ...(next && { to: next.from }) }
  })
}

function isFor({ user }: Client, asked: number, { posted: { to, except }, position }: Accepted): boolean {
  if (except?.users.includes(user)) return false
  if (to.all || to.users?.includes(user)) return true
  const own = [
    ...(byToken.includes(user) ? [rooms.token] : []),
    ...(byBackend.includes(user) ? [rooms.backend] : []),
    ...(position > asked ? [rooms.request] : []),
  ]
  return own.some((room) => to.rooms?.includes(room))
}

/** `url`: of the bridge, or which one a client turns to with its next attempt. */
export async function startClients(url: string | (() => string)): Promise<readonly Client[]> {
  const next = typeof url === 'string' ? () => url : url
  return Promise.all(
    Array.from({ length: 12 }, async (_, index): Promise<Client> => {
      const user = users[index % users.length] ?? 'ada'
      const transport = index < 6 ? 'websocket' : 'polling'
      const asks = index % 3 === 0
      const token = login(user, { rooms: [...(byToken.includes(user) ? [rooms.token] : []), 'page:*'] })
      const session = connectSession(next(), { token, transports: [transport], reconnectionDelay: 20, reconnectionDelayMax: 150 })
      const { socket } = session
      // A stock client has one address; with a balancer in front of several nodes it is this that changes behind it.
      socket.io.on('reconnect_attempt', () => Object.assign(socket.io, { uri: next() }))
      const ask = async (): Promise<void> => {
        const { id } = socket
        for (let ok = false; !ok && socket.connected && socket.id === id; ) {
          ok = await session.request('sidecast:join', { room: rooms.request }).then(
            (answer) => answer.ok,
            () => false,
          )
          if (!ok) await setTimeout(20)
        }
      }
      if (asks) {
        socket.on('sidecast:ready', (data) => {
          if (!Object(data).rooms.includes(rooms.request)) void ask()
        })
      }
      await session.notice('sidecast:ready')
      if (asks) await session.notice('sidecast:joined')
      return { name: `${user} ${index} over ${transport}`, user, asks, session }
    }),
  )
}

/** What has become of all that was accepted; `wrong`: whose order is not that of the log. */
export function account(clients: readonly Client[], publishers: readonly Publisher[]) {
  const accepted = publishers.flatMap((publisher) => publisher.accepted).toSorted((a, b) => a.position - b.position)
  const total = {
    accepted: accepted.length,
    delivered: 0,
    reconnects: 0,
    retries: 0,
    answeredAsDuplicate: 0,
    duplicates: 0,
    lost: 0,
    leaked: 0,
    told: 0,
    /** Not delivered to those who were told so. */
    missed: 0,
    /** Got once more after they were told so. */
    repeated: 0,
  }
  const positions = new Map(accepted.map(({ posted, position }) => [posted.id, position]))
  const wrong: string[] = []
  for (const publisher of publishers) {
    total.retries += publisher.retries
    total.answeredAsDuplicate += publisher.duplicates
  }
  for (const client of clients) {
    const { received, notices } = client.session
    const all = received
      .filter(({ event }) => event === 'changed')
      .map(({ data, offset }) => ({ ...(data as Posted['data']), position: positionOf(offset) }))
    const idOf = ({ publisher, number }: Omit<Posted['data'], 'filling'>): string => `${publisher}-${number}`
    const stretches = stretchesOf(client)
    const got = all.filter((one) => {
      // Stored, lost before its publisher had an answer, and stored again: the client was told of the loss in between.
      const at = positions.get(idOf(one)) ?? 0
      const again = stretches.some(({ from }) => one.position <= from && from < at)
      if (again) total.repeated++
      return !again
    })
    const ids = new Set(got.map(idOf))
    const due = accepted.filter((one) => {
      const stretch = stretches.findLast(({ from }) => one.position > from)
      if (stretch === undefined || !isFor(client, ids.has(one.posted.id) ? stretch.perhapsAsked : stretch.asked, one)) return false
      // Where it is told that it misses something there is an end to what it has got, and no hole before it.
      const end = stretch.to === undefined ? undefined : (got.findLast(({ position }) => position <= (stretch.to ?? 0))?.position ?? 0)
      if (end === undefined || one.position <= end) return true
      total.missed++
      return false
    })
    const readies = notices.filter(({ event }) => event === 'sidecast:ready')
    const dueIds = new Set(due.map(({ posted }) => posted.id))
    total.delivered += got.length
    total.reconnects += readies.length - 1
    total.duplicates += got.length - ids.size
    total.lost += [...dueIds].filter((id) => !ids.has(id)).length
    total.leaked += [...ids].filter((id) => !dueIds.has(id)).length
    total.told += timesTold(client.session)
    const order = got.map((one) => `${one.position} ${idOf(one)}`)
    const dueOrder = due.map(({ position, posted }) => `${position} ${posted.id}`)
    const first = dueOrder.findIndex((one, index) => order[index] !== one)
    if (first !== -1 || order.length !== dueOrder.length) wrong.push(`${client.name}: item ${first} is ${order[first]}, not ${dueOrder[first]}`)
  }
  return { total, wrong }
}
