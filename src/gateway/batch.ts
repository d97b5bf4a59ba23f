import type { Frame } from './frame.ts'

/**
 * The frames that a session gets in one tick, in order. Each batch is the one before it and some frames more, and sessions that go on from the same batch with
 * the same array of frames come to the same one: so those with the same list share one buffer, and nothing is compared or made for each of them.
 */
export class Batch {
  /** Of all its frames. */
  readonly bytes: number
  readonly #added: readonly Frame[]
  readonly #before: Batch | undefined
  /** The last one that went on from here: events go to all their sessions in a row, so what comes next never returns to earlier ones. */
  #after: Batch | undefined
  #buffer: Buffer | undefined

  constructor(frames: readonly Frame[], before?: Batch) {
    this.#added = frames
    this.#before = before
    this.bytes = frames.reduce((sum, frame) => sum + toBuffer(frame).length, before?.bytes ?? 0)
  }

  with(frames: readonly Frame[]): Batch {
    let after = this.#after
    if (after === undefined || after.#added !== frames) {
      after = new Batch(frames, this)
      this.#after = after
    }
    return after
  }

  is(frames: readonly Frame[]): boolean {
    return this.#added === frames && this.#before === undefined
  }

  get frames(): readonly Frame[] {
    const added: (readonly Frame[])[] = []
    for (let batch: Batch | undefined = this; batch !== undefined; batch = batch.#before) added.push(batch.#added)
    return added.reverse().flat()
  }

  /** All frames, for one write. */
  get buffer(): Buffer {
    this.#buffer ??= this.#join()
    return this.#buffer
  }

  #join(): Buffer {
    const [only, ...others] = this.frames
    return only !== undefined && others.length === 0 ? toBuffer(only) : Buffer.concat(this.frames.map(toBuffer), this.bytes)
  }
}

function toBuffer({ options }: Frame): Buffer {
  return options.wsPreEncodedFrame[0]
}
