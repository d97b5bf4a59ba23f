import type { Entry, Member, Membership, RevocationEntry, Stored } from './entry.ts'
import type { Stream } from './target.ts'

/** What became of one appended entry. `position` and `time` are those of the stored entry: for a duplicate, of the first. */
export type Appended =
  | { readonly outcome: 'stored'; readonly position: number; readonly time: number }
  /** An event with this id and digest stands in the dedupe window already; nothing was stored. */
  | { readonly outcome: 'duplicate'; readonly position: number; readonly time: number }
  /** The id stands in the dedupe window with another digest; nothing was stored. */
  | { readonly outcome: 'conflict'; readonly position: number; readonly time: number }

/** A reading of some streams. `gap`: what was asked for is not, or no longer, there as a whole; never a guess. */
export type Reading =
  | { readonly gap: true }
  | {
      readonly gap: false
      /** In order, each once, also when it stands in several of the streams. */
      readonly entries: readonly Stored[]
      /** Everything in these streams up to here is in `entries`: go on after it. The head of the log when there is no more. */
      readonly upTo: number
      readonly more: boolean
    }

export type LogHealth = (
  | { readonly appendable: true }
  | {
      readonly appendable: false
      readonly reason: string
    }
) & {
  /** For a log that others share: how long ago the newest entry was sent on its way that has come back since. */
  readonly canaryAgeMs?: number
}

/**
 * What one append may hold: it is one commit, for which all others wait. Whoever has more brings it in parts. The largest is a batch over HTTP, see openapi.yaml;
 * its bytes are those of the body (`SIDECAST_MAX_BATCH_SIZE`).
 */
export const maxAppendEntries = 1000

/**
 * The ordered record of everything that changes what a session may see.
 *
 * Reads are synchronous, and those made in one turn of the event loop see one state (`head`, `read`, `memberships` agree),
 * so a session can be caught up and made live with nothing in between.
 */
export interface EventLog {
  /** The incarnation: another one after the data was lost. That may be while the log is open, see `follow`. */
  readonly epoch: string
  /** 32 secret bytes that live as long as the epoch, or longer; what must be unforgeable by clients is derived from them. */
  readonly secret: Uint8Array

  /**
   * Resolves when the entries, at most `maxAppendEntries`, are durable. Positions grow strictly, in the caller's order, not always by one; concurrent callers share a commit.
   * @throws BridgeError log_unavailable: the log may work again later. None of these entries was stored; or, where the log is not in this process, the
   * answer was lost, and all or none were: with an id and a digest it is safe to repeat them.
   * `errand`: names it for whoever repeats it until there is an answer, one errand after the other: the same entries under the same name are stored once, also
   * those without an id, and the answer is the one that was lost.
   */
  append(entries: readonly Entry[], errand?: symbol): Promise<readonly Appended[]>

  /**
   * Hands over every entry that is appended from now on, exactly once, in order. Called before the `append` that stored the entries resolves.
   * `onLost`: entries are lost, or were not handed over and will not be. All that is read shows, from this turn on, what there is now; no session can go on
   * as if nothing had happened, and what was derived from the log has to be derived anew.
   * One follower per log.
   */
  follow(onEntries: (entries: readonly Stored[]) => void, onLost?: () => void): void

  /** The position of the newest entry; 0 when there has been none. */
  head(): number

  /** All entries from this position on are kept, and none before it: the one after the newest that was removed. */
  first(): number

  /** A position that was given out, 0 or more, as clients see it. The same text for as long as entries after it can be read. */
  offsetOf(position: number): string

  /**
   * The position of an offset that was given out. Undefined when it is none, or one of a past that this log does not have: of a log that was lost, or
   * of what came after the copy of the data that was put back, also when the positions have been given out again since.
   */
  positionOf(offset: string): number | undefined

  /**
   * To be asked about what a client brings, before `positionOf` decides: resolves to true when the log shows everything that was accepted when this was called,
   * also by other processes, or the offset is known already; to false when that cannot be made sure of in time. Never rejects.
   */
  catchUp(offset: string): Promise<boolean>

  /** The entries of the streams after a position, at most `limit`. `gap` when `after` is older than what is kept or lies ahead of the log. */
  read(after: number, streams: readonly Stream[], limit: number): Reading

  /** Rooms and the last word about them for this member. */
  memberships(member: Member): ReadonlyMap<string, Membership>

  /** The sessions that have memberships of their own. */
  sessionsWithMemberships(): readonly string[]

  /**
   * The revocations that were not lifted, in order, however old they are; with `after` those that stand behind this position.
   * One that takes the place of another refuses what both did (`replaceRevocation`), and is handed over so.
   */
  revocations(after?: number): readonly Stored<RevocationEntry>[]

  health(): LogHealth

  /** Finishes what was accepted, then releases the data. */
  close(): Promise<void>
}
