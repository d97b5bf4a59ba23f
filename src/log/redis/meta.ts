import { randomBytes } from 'node:crypto'
import { BridgeError } from '../../errors.ts'
import { Runs, randomName, type SharedRun } from '../runs.ts'
import { type Connection, toRecord } from './connection.ts'
import type { LogKeys } from './keys.ts'

/** What the log in Redis is, as it was when it was read. */
export interface Meta {
  readonly epoch: string
  /** Hex. */
  readonly secret: string
  readonly runs: readonly SharedRun[]
  /** The server that gives out positions now, see `serverName`. */
  readonly server: string
  /** The newest position. */
  readonly last: number
  /** The newest position in the stream of what is kept: of an entry that is not volatile. */
  readonly lasting: number
  /** Where the epoch began: whoever knows later positions of an earlier one has seen entries of which nobody was told that they are lost. */
  readonly start: number
  /** Everything from here on is kept. Absent: Redis was too full to write it down. */
  readonly first: number | undefined
  /** When a node was last there, by the clock of the server. */
  readonly at: number
}

/** @throws BridgeError log_foreign */
export async function readMeta(connection: Connection, keys: LogKeys): Promise<Meta | undefined> {
  const row = toRecord(await connection.call(['HGETALL', keys.meta]))
  if (row.size === 0) return undefined
  const number = (name: string): number => Number(row.get(name) ?? Number.NaN)
  const [epoch, secret, server] = [row.get('epoch'), row.get('secret'), row.get('server')]
  const runs = (row.get('runs') ?? '').split(',').map((run) => ({ id: run.split(':')[0] ?? '', from: Number(run.split(':')[1]) }))
  const whole = [number('last'), number('lasting'), number('start'), number('at'), ...runs.map(({ from }) => from)].every(Number.isSafeInteger)
  if (row.get('format') !== '3' || epoch === undefined || secret === undefined || server === undefined || !whole) {
    const cure = 'start the version of Sidecast that wrote it, or choose another SIDECAST_REDIS_PREFIX'
    throw new BridgeError('log_foreign', `the key ${keys.meta} in Redis is not that of a log of this version: ${cure}`)
  }
  const first = row.has('first') ? number('first') : undefined
  return { epoch, secret, runs, server, last: number('last'), lasting: number('lasting'), start: number('start'), first, at: number('at') }
}

export function formatRuns(runs: readonly SharedRun[]): string {
  return runs.map(({ id, from }) => `${id}:${from}`).join(',')
}

export function runsOf({ epoch, runs }: Pick<Meta, 'epoch' | 'runs'>): Runs {
  return Runs.of(epoch, runs)
}

export const newEpoch = (): string => randomName(10)
export const newRun = (): string => randomName(6)
export const newSecret = (): string => randomBytes(32).toString('hex')
