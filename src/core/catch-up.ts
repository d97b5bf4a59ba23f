import type { RoomSource } from './access.ts'
import { changesStream } from './entry.ts'
import type { EventLog } from './event-log.ts'
import { toRoomNotice } from './notice.ts'
import type { Observer } from './observer.ts'
import { Pace } from './pace.ts'
import { type ChangesSince, readMissed } from './resume.ts'
import type { Revocations } from './revocations.ts'
import type { Session } from './session.ts'

/** Entries that a resume reads in one turn. */
const resumeChunk = 100

export interface CatchUpOptions {
  readonly log: EventLog
  readonly observer: Observer
  readonly revocations: Revocations
  /** Takes the rooms of a session from the head of the log. */
  readonly restate: (session: Session) => void
}

/** Brings sessions that are not live to the head of the log, at the pace of their clients: those that resume, and those that have fallen behind. */
export class CatchUp {
  readonly #options: CatchUpOptions
  readonly #pace = new Pace()

  constructor(options: CatchUpOptions) {
    this.#options = options
  }

  /** `changes`: those since `after`, read in this turn, as the rooms of the session were. */
  resume(session: Session, after: number, changes: ChangesSince): void {
    this.#guard(session, this.#goThrough(session, after, undefined, changes))
  }

  /** The session's client has too much waiting: what follows `position` stays in the log until there is room. */
  fallBehind(session: Session, position: number): void {
    session.live = false
    this.#guard(session, this.#waitBehind(session, position))
  }

  async #waitBehind(session: Session, position: number): Promise<void> {
    const rooms = new Map(session.rooms)
    await session.connection.room()
    if (session.detached) return
    this.#options.restate(session)
    await this.#goThrough(session, position, rooms)
  }

  /**
   * Sends from the log what stands after a position, as fast as the client takes it; then the session is live.
   * `lagging`: the rooms that a connected session was in when it fell behind; absent for one that resumes. `changes`: those since `after`, read in this turn.
   */
  async #goThrough(session: Session, after: number, lagging?: ReadonlyMap<string, RoomSource>, changes?: ChangesSince): Promise<void> {
    const joined = { at: lagging === undefined ? session.since : after, rooms: new Set((lagging ?? session.rooms).keys()) }
    let position = after
    let known = changes
    let sent = 0
    // In one turn: the rooms, what is read, and going live are of one state of the log. The caller has taken the rooms in this turn.
    while (!session.detached) {
      if (this.#options.revocations.ahead().some((stored) => session.isEndedBy(stored))) {
        session.connection.close('revoked')
        return
      }
      const missed = readMissed(this.#options.log, session, position, resumeChunk, joined, known)
      known = undefined
      if (missed.gap) {
        // Trimmed while the client was slow: it comes back and is told.
        session.connection.close('transport')
        return
      }
      position = missed.upTo
      let room: Promise<void> | undefined
      for (const event of missed.events) {
        session.connection.send([event])
        sent++
        room = session.connection.room()
        if (room === undefined) continue
        position = event.position
        break
      }
      session.logins.forget(position)
      if (room === undefined && !missed.more) {
        session.goLive(missed.upTo)
        if (lagging === undefined) {
          this.#options.observer.sessionResumed(sent)
          session.welcome({ recovered: true })
        } else this.#tellRooms(session, lagging)
        return
      }
      // Others have their turn between two chunks.
      await (room ?? this.#pace.next())
      if (!session.detached && this.#isOutdated(session)) this.#options.restate(session)
    }
  }

  /** The changes of rooms that a session could not be told while it was behind. */
  #tellRooms(session: Session, before: ReadonlyMap<string, RoomSource>): void {
    for (const [room, by] of before)
      if (!session.rooms.has(room)) session.connection.notify(toRoomNotice({ room, entered: false, by }), session.since)
    for (const [room, by] of session.rooms) if (!before.has(room)) session.connection.notify(toRoomNotice({ room, entered: true, by }), session.since)
  }

  /** Whether something about its rooms stands in the log since they were taken from its head: with thousands of them it is not done for nothing. */
  #isOutdated({ statesAt, identity: { user }, id }: Session): boolean {
    if (statesAt === undefined) return true
    const changes = this.#options.log.read(statesAt, [changesStream({ user }), changesStream({ session: id })], 1)
    return changes.gap || changes.entries.length > 0
  }

  /** A catch-up that fails ends the connection: the client comes back and asks again. */
  #guard(session: Session, catchUp: Promise<void>): void {
    catchUp.catch((error: unknown) => {
      this.#options.observer.failed(error)
      session.connection.close('transport')
    })
  }
}
