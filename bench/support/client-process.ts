/** Many clients in one process: they connect, count what they get, and do to their connections what they are told. */
import { setTimeout } from 'node:timers/promises'
import jwt from 'jsonwebtoken'
import { answerOrders } from './child.ts'
import { nowMicros } from './clock.ts'
import { Latencies } from './latencies.ts'
import { RawSession } from './raw-session.ts'

interface User {
  readonly name: number
  readonly room?: number | undefined
}

interface Crowd {
  readonly port: number
  readonly secret: string
  readonly users: readonly User[]
  /** Of each user, besides; for who is to get more than the rest. */
  readonly room?: string
  /** So many loopback addresses are used. */
  readonly addresses: number
  /** How many logins are under way at once. */
  readonly atOnce: number
  readonly readyBy: 'connect' | 'sidecast:ready'
  /** For who is to resume: events have numbers below this. */
  readonly events?: number
}

export type ClientOrder =
  | ({ readonly kind: 'connect' } & Crowd)
  /** Answered when so many events have come, or none has for a while. */
  | { readonly kind: 'await'; readonly frames: number }
  | { readonly kind: 'clear' }
  | { readonly kind: 'cut' }
  | { readonly kind: 'reconnect'; readonly port: number; readonly atOnce: number }
  /** Each is cut for `cutMs`, connected for two thirds to four thirds of `stayMs`, again and again. */
  | { readonly kind: 'jitter'; readonly seconds: number; readonly cutMs: number; readonly stayMs: number }
  /** They read nothing; each comes anew after so long. */
  | { readonly kind: 'stall'; readonly everyMs: number }

export interface ClientCount {
  readonly ready: number
  readonly frames: number
  /** Of the numbers of the events. */
  readonly sum: number
  /** Events that came twice, where that is looked at. */
  readonly duplicates: number
  /** Events with a number that is not above that of the one before. */
  readonly disorder: number
  /** Connections that were lost or refused. */
  readonly lost: number
  readonly loginStartedAt: number
  /** When the last event, or the last login, was there. */
  readonly lastAt: number
  readonly latencies: Pick<Latencies, 'counts' | 'maxMicros'>
  /** Seconds of processor time that this process has used since the logins began, or since it was cleared. */
  readonly cpuSeconds: number
}

const patienceMs = 15_000
const retryMs = 100

let sessions: RawSession[] = []
let port = 0
let frames = 0
let sum = 0
let duplicates = 0
let disorder = 0
let lost = 0
let lastAt = 0
let loginStartedAt = 0
let cpuFrom = process.cpuUsage()
let isKept = false
/** Who is connecting, and who is to: never more than `atOnce` of them. */
const connecting = new Set<RawSession>()
let atOnce = 0
let isStalled = false
let waiting: RawSession[] = []
let changed: (() => void) | undefined
const latencies = new Latencies()

function connectNext(): void {
  while (connecting.size < atOnce) {
    const session = waiting.pop()
    if (session === undefined) return
    connecting.add(session)
    session.open(port)
  }
}

function createSession({ name, room }: User, of: Crowd): RawSession {
  const rooms = room === undefined ? [] : [`room-${room}`]
  const token = jwt.sign({ sub: `${name}`, rooms: of.room === undefined ? rooms : [...rooms, of.room] }, of.secret, { expiresIn: '1h' })
  const seen = of.events === undefined ? undefined : new Uint8Array(of.events)
  let last = -1
  const session: RawSession = new RawSession({
    localAddress: `127.0.0.${2 + (name % of.addresses)}`,
    token,
    readyBy: of.readyBy,
    isResumable: seen !== undefined,
    onReady() {
      connecting.delete(session)
      lastAt = nowMicros()
      if (isStalled) session.stall()
      connectNext()
      changed?.()
    },
    onEvent(number, dueAt) {
      if (seen?.[number] === 1) duplicates++
      else {
        frames++
        sum += number
        if (seen !== undefined) seen[number] = 1
      }
      if (number <= last) disorder++
      last = number
      lastAt = nowMicros()
      if (dueAt > 0) latencies.add(lastAt - dueAt)
      changed?.()
    },
    onLost() {
      lost++
      if (!isKept) return
      // As the stock client does: it comes back after a while.
      connecting.delete(session)
      globalThis.setTimeout(() => {
        waiting.push(session)
        connectNext()
      }, retryMs)
    },
  })
  return session
}

/** Resolves when it holds, or when nothing has happened for a while. */
async function until(holds: () => boolean): Promise<void> {
  for (let before = -1; !holds() && before !== lastAt + lost; ) {
    before = lastAt + lost
    const patience = new AbortController()
    const met = new Promise<void>((resolve) => {
      changed = () => {
        if (holds()) resolve()
      }
    })
    await Promise.race([met, setTimeout(patienceMs, undefined, { signal: patience.signal })])
    patience.abort()
  }
  changed = undefined
}

const countReady = (): number => sessions.filter(({ isReady }) => isReady).length

async function connectAll(all: readonly RawSession[], at: number): Promise<void> {
  isKept = true
  loginStartedAt = nowMicros()
  cpuFrom = process.cpuUsage()
  atOnce = at
  connecting.clear()
  waiting = all.toReversed()
  connectNext()
  await until(() => connecting.size === 0 && waiting.length === 0 && countReady() === sessions.length)
}

async function jitter(session: RawSession, seconds: number, cutMs: number, stayMs: number): Promise<void> {
  const end = performance.now() + seconds * 1000
  for (;;) {
    await setTimeout(stayMs * (2 / 3 + (Math.random() * 2) / 3))
    if (performance.now() > end) return
    if (!session.isReady) continue
    session.cut()
    await setTimeout(cutMs)
    waiting.push(session)
    connectNext()
  }
}

function clear(): void {
  frames = sum = duplicates = disorder = lost = 0
  latencies.clear()
  cpuFrom = process.cpuUsage()
}

async function carryOut(order: ClientOrder): Promise<void> {
  switch (order.kind) {
    case 'connect': {
      port = order.port
      sessions = order.users.map((user) => createSession(user, order))
      return connectAll(sessions, order.atOnce)
    }
    case 'await':
      return until(() => frames >= order.frames)
    case 'clear':
      return clear()
    case 'cut':
      isKept = false
      for (const session of sessions) session.cut()
      return
    case 'reconnect':
      port = order.port
      return connectAll(sessions, order.atOnce)
    case 'jitter':
      await Promise.all(sessions.map((session) => jitter(session, order.seconds, order.cutMs, order.stayMs)))
      return until(() => countReady() === sessions.length)
    case 'stall': {
      isStalled = true
      for (const session of sessions) session.stall()
      const stalledAt = performance.now()
      let returned = 0
      // One after the other: that many of them log in at once is not what is looked at.
      setInterval(() => {
        for (; returned < ((performance.now() - stalledAt) / order.everyMs) * sessions.length; returned++) {
          const session = sessions[returned % sessions.length]
          if (session?.isReady !== true) continue
          session.cut()
          waiting.push(session)
        }
        connectNext()
      }, 20)
      return
    }
    default:
      order satisfies never
  }
}

answerOrders<ClientOrder, ClientCount>(async (order) => {
  await carryOut(order)
  const { user, system } = process.cpuUsage(cpuFrom)
  const { counts, maxMicros } = latencies
  const taken = maxMicros > 0 ? { counts, maxMicros } : { counts: [], maxMicros: 0 }
  return { ready: countReady(), frames, sum, duplicates, disorder, lost, loginStartedAt, lastAt, latencies: taken, cpuSeconds: (user + system) / 1e6 }
})
