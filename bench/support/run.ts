import { Publisher } from './publisher.ts'
import type { Table } from './report.ts'
import type { Servers } from './server.ts'

/** What a measurement is given. */
export interface Run {
  readonly servers: Servers
  /** Whether it may take its time. */
  readonly isFull: boolean
  /** What the caller has set: `--sessions=1000,6000`. */
  readonly set: Readonly<Record<string, string | undefined>>
}

/** Each table is there as soon as it can be: one that fails takes none of those before it along. */
export type Measurement = (run: Run) => AsyncIterable<Table>

/** The numbers that the caller has set, or those of a short or a full run. */
export function sizes({ isFull, set }: Run, name: string, short: readonly number[], full: readonly number[]): readonly number[] {
  const given = set[name]
  if (given === undefined) return isFull ? full : short
  const numbers = given.split(',').map(Number)
  if (numbers.some((number) => !(number > 0))) throw new Error(`--${name}=${given} must be numbers above 0, as in --${name}=1000,6000`)
  return numbers
}

export function size(run: Run, name: string, short: number, full: number): number {
  return sizes(run, name, [short], [full])[0] ?? short
}

export function createPublisher({ servers }: Run): Publisher {
  return new Publisher(servers.credentials.apiKey)
}
