import { SetIndex } from './set-index.ts'
import { type Except, type Stream, sessionStream, type Target, toStreams, userStream } from './target.ts'

/** Items by the streams under which events find them. */
export class StreamIndex<Item extends object> extends SetIndex<Stream, Item> {
  /** Calls back once for each item that the target names and the exception does not. */
  forEachMatch(to: Target, except: Except, visit: (item: Item) => void): void {
    const streams = toStreams(to)
    const [first] = streams
    const anyException = except.users.length > 0 || except.sessions.length > 0
    // The common case, one stream and no exception, makes nothing per recipient.
    if (streams.length === 1 && first !== undefined && !anyException) {
      this.forEach(first, visit)
      return
    }
    const seen = new Set<Item>()
    for (const stream of [...except.users.map(userStream), ...except.sessions.map(sessionStream)]) {
      for (const item of this.of(stream)) seen.add(item)
    }
    for (const stream of streams) {
      for (const item of this.of(stream)) {
        if (seen.has(item)) continue
        seen.add(item)
        visit(item)
      }
    }
  }
}
