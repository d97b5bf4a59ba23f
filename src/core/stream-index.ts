import { type Except, type Stream, sessionStream, type Target, toStreams, userStream } from './target.ts'

/** Items by the streams under which events find them. */
export class StreamIndex<Item> {
  readonly #byStream = new Map<Stream, Set<Item>>()
  readonly #nobody: ReadonlySet<Item> = new Set()

  of(stream: Stream): ReadonlySet<Item> {
    return this.#byStream.get(stream) ?? this.#nobody
  }

  put(stream: Stream, item: Item): void {
    const items = this.#byStream.get(stream)
    if (items === undefined) this.#byStream.set(stream, new Set([item]))
    else items.add(item)
  }

  drop(stream: Stream, item: Item): void {
    const items = this.#byStream.get(stream)
    if (items?.delete(item) && items.size === 0) this.#byStream.delete(stream)
  }

  /** Calls back once for each item that the target names and the exception does not. */
  forEachMatch(to: Target, except: Except, visit: (item: Item) => void): void {
    const streams = toStreams(to)
    const [first] = streams
    const anyException = except.users.length > 0 || except.sessions.length > 0
    // The common case, one stream and no exception, makes nothing per recipient.
    if (streams.length === 1 && first !== undefined && !anyException) {
      for (const item of this.of(first)) visit(item)
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
