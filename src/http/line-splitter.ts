/** A line without its end, or `too-long`: its bytes were dropped as they came. */
export type Line = Buffer | 'too-long'

const newline = 0x0a

/** Cuts a stream of bytes into lines, holding no more than one line of at most `maxBytes`. */
export class LineSplitter {
  readonly #maxBytes: number
  #parts: Buffer[] = []
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  *push(chunk: Buffer): Generator<Line> {
    let start = 0
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      this.#take(chunk.subarray(start, end))
      yield this.#finish()
      start = end + 1
    }
    if (start < chunk.byteLength) this.#take(chunk.subarray(start))
  }

  /** What came after the last line end; undefined when nothing did. */
  end(): Line | undefined {
    return this.#bytes === 0 ? undefined : this.#finish()
  }

  #take(part: Buffer): void {
    this.#bytes += part.byteLength
    if (this.#bytes > this.#maxBytes) this.#parts = []
    else if (part.byteLength > 0) this.#parts.push(part)
  }

  #finish(): Line {
    const [first, ...others] = this.#parts
    const line = this.#bytes > this.#maxBytes ? 'too-long' : first !== undefined && others.length === 0 ? first : Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    return line
  }
}
