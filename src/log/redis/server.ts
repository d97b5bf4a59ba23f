import { BridgeError } from '../../errors.ts'
import { type Connection, toText } from './connection.ts'

/** What a Redis says of itself, as far as it matters here. Times in milliseconds since 1970, by its own clock. */
export interface Server {
  /** Of the process. */
  readonly runId: string
  /** Of the data's history; another one after a promotion. */
  readonly replicationId: string
  /** The history that it went on with when it was promoted; also of one that has read it from its own file. Absent: none. */
  readonly formerId: string | undefined
  readonly role: string
  readonly startedAt: number
  readonly now: number
  /** What may be thrown away when it is full: `noeviction` when nothing may, or it never gets full. */
  readonly eviction: string
}

const minVersion = [6, 2] as const

/** @throws BridgeError log_unavailable: the version is too old */
export async function readServer(connection: Connection): Promise<Server> {
  const [info, time] = await Promise.all([connection.call(['INFO']), connection.call(['TIME'])])
  const text = toText(info)
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(text)?.[1] ?? ''
  const version = field('redis_version')
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < minVersion[0] || (major === minVersion[0] && minor < minVersion[1])) {
    throw new BridgeError('log_foreign', `Redis has version ${version || 'unknown'}: 6.2 or later, or Valkey, is needed`)
  }
  const [seconds, micros] = Array.isArray(time) ? time.map((part) => Number(toText(part))) : []
  const now = (seconds ?? 0) * 1000 + Math.floor((micros ?? 0) / 1000)
  const formerId = field('master_replid2')
  return {
    runId: field('run_id'),
    replicationId: field('master_replid'),
    formerId: /^0*$/.test(formerId) ? undefined : formerId,
    role: field('role'),
    now,
    startedAt: now - Number(field('uptime_in_seconds')) * 1000,
    eviction: Number(field('maxmemory')) > 0 ? field('maxmemory_policy') : 'noeviction',
  }
}

/** As it is kept in the data, to know it again. */
export function serverName({ runId, replicationId }: Server): string {
  return `${runId}:${replicationId}`
}

// Uptime comes in whole seconds.
const roundingMs = 1500

/**
 * What has become of the server that had the data last.
 * `restarted`: it, or its files, came back: what it had written is there. `promoted`: another one, which ran beside it, has taken its place, and may lack
 * what it had not been sent yet. When it cannot be told it is this one.
 */
export function judgeServer(server: Server, known: string, lastSeenAt: number): 'same' | 'restarted' | 'promoted' {
  const [runId, replicationId] = known.split(':')
  if (server.runId === runId) return server.replicationId === replicationId || server.formerId === undefined ? 'same' : 'promoted'
  if (server.formerId === undefined) return 'restarted'
  return server.startedAt > lastSeenAt + roundingMs ? 'restarted' : 'promoted'
}
