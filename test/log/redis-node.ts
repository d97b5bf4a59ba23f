import { afterEach } from 'vitest'
import type { Entry, Stored } from '../../src/core/entry.ts'
import type { RedisLogOptions } from '../../src/log/redis/options.ts'
import type { RedisLog } from '../../src/log/redis/redis-log.ts'
import { eventTo, until } from './entries.ts'
import { openRedisLog } from './open-redis.ts'

/** A node of a cluster, as far as its log is concerned, with what its sessions would have been given. */
export interface Node {
  readonly log: RedisLog
  /** The ids of events, and the kinds of all else, since the last time it was told that something is lost. */
  readonly seen: readonly string[]
  /** How often it was told. */
  readonly told: number
  /** Appends one event and waits for it. */
  append(id: string): Promise<void>
  /** Appends until it is stopped, several at a time, whatever becomes of it; then says which ids were accepted. */
  storm(prefix: string, digest?: string): { stop(): Promise<readonly string[]> }
  /** Waits for an answer to an append, whatever number of tries it takes. */
  appendAtLast(entry: Entry): Promise<void>
}

export async function startNode(
  server: { readonly port: number; readonly ca?: string | undefined },
  options: Partial<RedisLogOptions> = {},
): Promise<Node> {
  const log = await openRedisLog(server, { canaryMs: 100, ...options })
  let seen: string[] = []
  let told = 0
  log.follow(
    (entries: readonly Stored[]) => seen.push(...entries.map(({ entry }) => (entry.kind === 'event' ? entry.id : entry.kind))),
    () => {
      told++
      seen = []
    },
  )
  return {
    log,
    get seen() {
      return seen
    },
    get told() {
      return told
    },
    async append(id) {
      await log.append([eventTo('r', { id })])
    },
    storm(prefix, digest) {
      const state = { stopped: false }
      storms.push(state)
      const accepted: string[] = []
      let count = 0
      const caller = async (): Promise<void> => {
        while (!state.stopped) {
          const id = `${prefix}${++count}`
          await log.append([eventTo('r', { id, ...(digest !== undefined && { digest }) })]).then(
            () => accepted.push(id),
            () => new Promise((resolve) => setTimeout(resolve, 5)),
          )
        }
      }
      const callers = Promise.all(Array.from({ length: 8 }, caller))
      return {
        async stop() {
          state.stopped = true
          await callers
          return accepted
        },
      }
    },
    async appendAtLast(entry) {
      for (let done = false; !done; ) {
        done = await log.append([entry]).then(
          () => true,
          () => new Promise((resolve) => setTimeout(() => resolve(false), 20)),
        )
      }
    },
  }
}

const storms: { stopped: boolean }[] = []
afterEach(() => {
  for (const storm of storms.splice(0)) storm.stopped = true
})

/** Waits until a node has seen an event. */
export function untilSeen(node: Node, id: string): Promise<void> {
  return until(() => node.seen.includes(id))
}
