import { setTimeout as pause } from 'node:timers/promises'
import type { Connection } from './connection.ts'
import { Refused } from './failure.ts'
import type { Link } from './link.ts'

export interface ReplicasOptions {
  /** How many must have acknowledged; with 0 nothing is looked at. */
  readonly wanted: number
  /** A key that nothing else needs. */
  readonly probe: string
  /** From one look to the next. */
  readonly everyMs: number
  /** Why what is written is not as safe as asked for; undefined: it is. */
  readonly onJudged: (missing: string | undefined) => void
}

const waitMs = 1500
const probeMs = 60_000

/**
 * Looks again and again, for as long as the link lives, whether replicas acknowledge what is written. Over a connection of its own: WAIT holds up all that
 * stands behind it on the same one. Never rejects.
 */
export async function watchReplicas(link: Link, { wanted, probe, everyMs, onJudged }: ReplicasOptions): Promise<void> {
  if (wanted === 0) return
  try {
    const connection = await link.another()
    while (link.failure === undefined) {
      try {
        // WAIT asks about what was written over the same connection.
        await connection.call(['SET', probe, '', 'PX', String(probeMs)])
        onJudged(await missingReplicas(connection, wanted))
      } catch (error) {
        // Where nothing can be written canaries say so.
        if (!(error instanceof Refused)) throw error
      }
      await pause(everyMs, undefined, { ref: false })
    }
  } catch {
    // The link is over, and knows why.
  }
}

/** Why what was written over this connection is not as safe as asked for; undefined: it is. @throws why the connection is over */
export async function missingReplicas(connection: Connection, wanted: number): Promise<string | undefined> {
  if (wanted === 0) return undefined
  const acknowledged = Number(await connection.call(['WAIT', String(wanted), String(waitMs)], waitMs))
  if (acknowledged >= wanted) return undefined
  return `only ${acknowledged} replicas of the ${wanted} that SIDECAST_REDIS_WAIT asks for have acknowledged in ${waitMs} ms`
}
