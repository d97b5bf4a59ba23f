import { SetIndex } from './set-index.ts'
import type { Except, Target } from './target.ts'

/** Under what events find an item. */
interface Place {
  readonly user: string
  readonly session: string
  readonly rooms: Iterable<string>
}

/** Items by what targets name: by the names themselves, so that an event finds its item without making a text. */
export class StreamIndex<Item extends object> {
  readonly all = new Set<Item>()
  readonly users = new SetIndex<string, Item>()
  readonly rooms = new SetIndex<string, Item>()
  readonly sessions = new SetIndex<string, Item>()

  put(item: Item, { user, session, rooms }: Place): void {
    this.all.add(item)
    this.users.put(user, item)
    this.sessions.put(session, item)
    for (const room of rooms) this.rooms.put(room, item)
  }

  drop(item: Item, { user, session, rooms }: Place): void {
    this.all.delete(item)
    this.users.drop(user, item)
    this.sessions.drop(session, item)
    for (const room of rooms) this.rooms.drop(room, item)
  }

  /** Calls back once for each item that the target names and the exception does not. */
  forEachMatch(to: Target, except: Except, visit: (item: Item) => void): void {
    // The common case, one name and no exception, makes nothing.
    if (!isPlain(to, except)) {
      this.#forEachOnce(to, except, visit)
    } else if (to.all) {
      for (const item of this.all) visit(item)
    } else {
      for (const user of to.users) this.users.forEach(user, visit)
      for (const room of to.rooms) this.rooms.forEach(room, visit)
      for (const session of to.sessions) this.sessions.forEach(session, visit)
    }
  }

  #forEachOnce(to: Target, except: Except, visit: (item: Item) => void): void {
    const seen = new Set<Item>()
    const see = (item: Item): void => void seen.add(item)
    for (const user of except.users) this.users.forEach(user, see)
    for (const session of except.sessions) this.sessions.forEach(session, see)
    const visitOnce = (item: Item): void => {
      if (seen.has(item)) return
      seen.add(item)
      visit(item)
    }
    if (to.all) {
      for (const item of this.all) visitOnce(item)
      return
    }
    for (const user of to.users) this.users.forEach(user, visitOnce)
    for (const room of to.rooms) this.rooms.forEach(room, visitOnce)
    for (const session of to.sessions) this.sessions.forEach(session, visitOnce)
  }
}

/** Whether no item can be named twice, and none is left out. */
function isPlain({ all, users, rooms, sessions }: Target, except: Except): boolean {
  return (all || users.length + rooms.length + sessions.length === 1) && except.users.length === 0 && except.sessions.length === 0
}
