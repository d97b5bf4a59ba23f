/** Milliseconds. */
export interface LatencySummary {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const buckets = 4096
const perDoubling = 128

/** How long events took, in buckets that are less than a hundredth wide, so that those of several processes can be added up. */
export class Latencies {
  readonly counts: number[] = new Array<number>(buckets).fill(0)
  maxMicros = 0

  add(micros: number): void {
    const bucket = Math.min(buckets - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, micros)) * perDoubling)))
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1
    if (micros > this.maxMicros) this.maxMicros = micros
  }

  clear(): void {
    this.counts.fill(0)
    this.maxMicros = 0
  }
}

export function summarize(parts: readonly Pick<Latencies, 'counts' | 'maxMicros'>[]): LatencySummary {
  const counts = Array.from({ length: buckets }, (_, bucket) => parts.reduce((sum, part) => sum + (part.counts[bucket] ?? 0), 0))
  const count = counts.reduce((sum, one) => sum + one, 0)
  const at = (share: number): number => {
    let left = count * share
    const bucket = counts.findIndex((one) => {
      left -= one
      return left <= 0
    })
    return 2 ** (bucket / perDoubling) / 1000
  }
  return { count, p50: at(0.5), p99: at(0.99), max: Math.max(...parts.map(({ maxMicros }) => maxMicros)) / 1000 }
}
