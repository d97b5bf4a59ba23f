import { setTimeout as pause } from 'node:timers/promises'
import { BridgeError } from '../../errors.ts'
import type { Runs } from '../runs.ts'
import { toList, toText } from './connection.ts'
import type { LogKeys } from './keys.ts'
import type { Link } from './link.ts'
import { formatRuns, type Meta, newEpoch, newRun, newSecret, readMeta, runsOf } from './meta.ts'
import { toPosition } from './place.ts'
import { adoptScript, renewScript } from './scripts.ts'
import { judgeServer, serverName } from './server.ts'

/** What a node knows from before it lost its connection. */
export interface Standing {
  readonly epoch: string
  /** Hex. */
  readonly secret: string
  readonly runs: Runs
  /** The newest position that it was given or has followed. */
  readonly known: number
}

export interface EnterOptions {
  readonly keys: LogKeys
  /** Whether nothing is accepted that stands on one server only: then a promoted replica is believed as far as nobody knows better. */
  readonly guarded: boolean
  /** In place of the clock of Redis. */
  readonly clock?: (() => number) | undefined
}

// More than the nodes that can be faster, and the looks at what they have done.
const maxTries = 200
// How long a node that has just started lets those go first that were there before the server was another one: they know what nobody else can know. Longer
// than they wait before they try again.
const witnessMs = 2000
const lookMs = 50

/**
 * Looks whether the data is what it was, each time when there is a new connection, and begins another epoch when something that was accepted may be gone:
 *
 * - a position that this node knows of is missing, or the data are gone, or older ones are back;
 * - a replica was promoted, which may lack what it had not been sent, and nobody has waited for it;
 * - the server is another one than before, nobody who was there is there any more, and not all of them had left in order;
 * - another node has begun an epoch, and this one has seen entries of the old one that were accepted after it: sessions that were told then
 *   must be told again.
 *
 * One node wins, the others find what it made. @throws Refused, BridgeError, or why the link is over
 */
export async function enter(link: Link, standing: Standing | undefined, options: EnterOptions): Promise<Meta> {
  const { keys, clock } = options
  const { commands, server } = link
  const renew = async (ended: string): Promise<void> => {
    const args = [
      ended,
      newEpoch(),
      standing?.secret ?? newSecret(),
      newRun(),
      serverName(server),
      String(standing?.known ?? 0),
      String(clock?.() ?? ''),
    ]
    await commands.run(renewScript, [keys.meta, keys.log, keys.canary, keys.writers], args)
  }
  const witnessedUntil = performance.now() + witnessMs
  for (let tries = 0; tries < maxTries; tries++) {
    const meta = await readMeta(commands, keys)
    if (meta === undefined) {
      await renew('')
      continue
    }
    const verdict = judgeServer(server, meta.server, meta.at)
    const lost =
      standing === undefined
        ? verdict !== 'same' && Number(await commands.call(['HLEN', keys.writers])) > 0
        : standing.epoch === meta.epoch
          ? !isWhole(meta, standing) || (verdict === 'promoted' && !options.guarded)
          : standing.known > meta.start
    if (lost && standing === undefined && performance.now() < witnessedUntil) await pause(lookMs)
    else if (lost) await renew(meta.epoch)
    else if (verdict === 'same') return meta
    else {
      const first = await firstOf(link, keys, meta)
      const args = [meta.epoch, meta.server, serverName(server), formatRuns(runsOf(meta).since(first)), newRun()]
      await commands.run(adoptScript, [keys.meta], args)
    }
  }
  throw new BridgeError('log_unavailable', 'the log in Redis is another one each time when it is read: do two groups of nodes share it?')
}

/** Whether the newest position that a node knows of stands in the data, under the run that gave it out. */
function isWhole(meta: Meta, { runs, known }: Standing): boolean {
  return runsOf(meta).positionOf(runs.offsetOf(known), meta.last) === known
}

/** Everything from here on is kept, as far as it can be known. */
export async function firstOf({ commands }: Link, keys: LogKeys, meta: Meta): Promise<number> {
  if (meta.first !== undefined) return meta.first
  const [oldest] = toList(await commands.call(['XRANGE', keys.log, '-', '+', 'COUNT', '1']))
  return oldest === undefined ? meta.last + 1 : toPosition(toText(toList(oldest)[0]))
}
