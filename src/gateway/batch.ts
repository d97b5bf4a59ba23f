import type { Frame } from './frame.ts'

/**
 * The frames that a session gets in one tick, in order. Each batch is the one before it and one frame more, and sessions that go on from the same batch with
 * the same frame come to the same one: so those with the same list share one buffer, and nothing is compared or made for each of them.
 */
export class Batch {
  /** Of all its frames. */
  readonly bytes: number
  readonly #frame: Frame
  readonly #before: Batch | undefined
  /** The last one that went on from here: an event goes to all its sessions in a row, so the next frame never returns to an earlier one. */
  #after: Batch | undefined
  #buffer: Buffer | undefined

  constructor(frame: Frame, before?: Batch) {
    this.#frame = frame
    this.#before = before
    this.bytes = (before?.bytes ?? 0) + toBuffer(frame).length
  }

  with(frame: Frame): Batch {
    let after = this.#after
    if (after === undefined || after.#frame !== frame) {
      after = new Batch(frame, this)
      this.#after = after
    }
    return after
  }

  is(frame: Frame): boolean {
    return this.#frame === frame && this.#before === undefined
  }

  get frames(): readonly Frame[] {
    const frames: Frame[] = []
    for (let batch: Batch | undefined = this; batch !== undefined; batch = batch.#before) frames.push(batch.#frame)
    return frames.reverse()
  }

  /** All frames, for one write. */
  get buffer(): Buffer {
    if (this.#before === undefined) return toBuffer(this.#frame)
    this.#buffer ??= Buffer.concat(this.frames.map(toBuffer), this.bytes)
    return this.#buffer
  }
}

function toBuffer({ options }: Frame): Buffer {
  return options.wsPreEncodedFrame[0]
}
