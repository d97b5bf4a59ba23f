import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Check } from '../core/health.ts'

const resolutionMs = 20

/** In seconds. */
interface Delay {
  readonly p99: number
  readonly max: number
}

export interface EventLoopDelayOptions {
  /** What readiness looks at: the last whole window. */
  readonly windowMs?: number
  /** Held for longer than this in one turn of a hundred, a process serves nobody. */
  readonly maxP99Ms?: number
}

/** For how long the event loop is held, by whatever runs on it: so long everybody waits. */
export class EventLoopDelay {
  readonly #maxP99: number
  readonly #sinceTaken = monitorEventLoopDelay({ resolution: resolutionMs })
  readonly #window = monitorEventLoopDelay({ resolution: resolutionMs })
  readonly #timer: NodeJS.Timeout
  #lastWindow: Delay = { p99: 0, max: 0 }

  constructor({ windowMs = 10_000, maxP99Ms = 5000 }: EventLoopDelayOptions = {}) {
    this.#maxP99 = maxP99Ms / 1000
    this.#sinceTaken.enable()
    this.#window.enable()
    this.#timer = setInterval(() => {
      this.#lastWindow = read(this.#window)
      this.#window.reset()
    }, windowMs).unref()
  }

  /** Since it was taken last. */
  take(): Delay {
    const delay = read(this.#sinceTaken)
    this.#sinceTaken.reset()
    return delay
  }

  check(): Check {
    const { p99, max } = this.#lastWindow
    const failure = `the process was held up for ${p99.toFixed(1)} s at a time (p99), ${max.toFixed(1)} s at most: it has more to do than its core can`
    return { name: 'event_loop', ...(p99 > this.#maxP99 ? { failure } : {}) }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#sinceTaken.disable()
    this.#window.disable()
  }
}

/** What is measured is from one look to the next, in nanoseconds. */
function read(histogram: ReturnType<typeof monitorEventLoopDelay>): Delay {
  if (histogram.count === 0) return { p99: 0, max: 0 }
  const toSeconds = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolutionMs) / 1000
  return { p99: toSeconds(histogram.percentile(99)), max: toSeconds(histogram.max) }
}
