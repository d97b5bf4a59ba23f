import { setTimeout as pause } from 'node:timers/promises'
import { BridgeError } from '../../errors.ts'
import type { Runs } from '../runs.ts'
import type { Appender } from './appender.ts'
import { enter, firstOf } from './enter.ts'
import { explain } from './failure.ts'
import { cursorAt, readBatch } from './following.ts'
import type { LogKeys } from './keys.ts'
import type { Link } from './link.ts'
import { loadWindow } from './loading.ts'
import { openLink } from './log-link.ts'
import { lostRights } from './lost-rights.ts'
import type { Meta } from './meta.ts'
import { type RedisLogOptions, whereIs } from './options.ts'
import type { Window } from './window.ts'

/** From one attempt to connect to the next. */
export const minDelayMs = 50
export const maxDelayMs = 1000
/** How long one reading waits for what comes. */
export const blockMs = 1000

/** What a node stands on, verified over one link: what the log is, and what is kept of it here. */
export interface Ground {
  readonly meta: Meta
  readonly window: Window
}

/** Waits for Redis for a while. @throws BridgeError log_unavailable, log_foreign, log_read_only */
export async function firstGround(options: RedisLogOptions, keys: LogKeys): Promise<Ground & { readonly link: Link }> {
  const giveUpAt = performance.now() + (options.openMs ?? 30_000)
  for (let delay = minDelayMs; ; delay = Math.min(delay * 2, maxDelayMs)) {
    let link: Link | undefined
    try {
      link = await openLink(options, keys)
      const meta = await enter(link, undefined, enterOptions(options, keys))
      const window = await loadWindow(link, meta, { ...options, keys, onDamaged: options.onFailure })
      return { link, meta, window }
    } catch (error) {
      link?.end(new Error('the connection is not used'))
      const { reason, lasting } = explain(error, whereIs(options))
      if (lasting || performance.now() + delay > giveUpAt) {
        const code = error instanceof BridgeError ? error.code : 'log_unavailable'
        throw new BridgeError(code, reason, { cause: error })
      }
      await pause(delay)
    }
  }
}

export interface NextGround {
  readonly link: Link
  /** `overrun`: what follows its window is gone. */
  readonly old: Ground & { readonly runs: Runs; readonly overrun: boolean }
  /** What is lost is put back through it. */
  readonly appender: Appender
}

/** Where this node was, with the same window; or what there is now, with another one. @throws as `enter`, and why the link is over */
export async function nextGround({ link, old, appender }: NextGround, options: RedisLogOptions, keys: LogKeys): Promise<Ground> {
  const { epoch, secret } = old.meta
  const standing = { epoch, secret, runs: old.runs, known: old.window.state.head }
  const meta = await enter(link, standing, enterOptions(options, keys))
  // What stands before `first` and after our place is gone, and was not seen here.
  if (meta.epoch === epoch && !old.overrun && (await firstOf(link, keys, meta)) <= old.window.state.head + 1) return { meta, window: old.window }
  const window = await loadWindow(link, meta, { ...options, keys, onDamaged: options.onFailure })
  try {
    if (meta.epoch !== epoch) await restoreRights(window, { link, meta, old: old.window, appender }, options, keys)
    return { meta, window }
  } catch (error) {
    await window.close()
    throw error
  }
}

interface Restoring {
  readonly link: Link
  readonly meta: Meta
  readonly old: Window
  readonly appender: Appender
}

/** Rights that ended, and that only this node still knows of, stand in the log again, and in the new window. */
async function restoreRights(window: Window, { link, meta, old, appender }: Restoring, options: RedisLogOptions, keys: LogKeys): Promise<void> {
  const footing = { link, epoch: meta.epoch, server: meta.server, known: () => window.state.head }
  const restored = await appender.restore(footing, lostRights(old, window, options.now()))
  let cursor = cursorAt(window, link.server.now)
  while (window.state.head < restored) {
    const batch = await readBatch(link.follower, keys, cursor, blockMs, options.onFailure)
    await window.fill(batch.entries)
    if (batch.obstacle !== undefined) throw batch.obstacle
    cursor = batch.cursor
  }
}

function enterOptions({ waitReplicas, clock }: RedisLogOptions, keys: LogKeys) {
  return { keys, clock, guarded: waitReplicas > 0 }
}
