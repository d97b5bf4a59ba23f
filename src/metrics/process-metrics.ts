import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue } from 'prom-client'

/** The metrics of one process, as it hands them to another. */
export type MetricsSnapshot = readonly MetricObjectWithValues<MetricValue<string>>[]

/** Each process has its own, and a sum of them would say nothing. */
export const eventLoopDelayMetric = 'sidecast_event_loop_delay_seconds'

const isOurs = ({ name }: { readonly name: string }): boolean => name.startsWith('sidecast_') && name !== eventLoopDelayMetric

/**
 * The metrics of several processes as those of one bridge: what Sidecast counts is summed, what is measured of each process has the label `worker`.
 * What a process that is gone has counted stays in the sum, so that no counter ever goes back.
 */
export class ProcessMetrics {
  /** What was shown of each process last. */
  readonly #shown = new Map<string, MetricsSnapshot>()
  /** What processes that are gone have counted; the first one is the sum of many. */
  readonly #retired: MetricsSnapshot[] = []
  #merging = false

  /** By the name of the process; one that does not answer is shown as before. @returns the text format of Prometheus */
  async render(snapshots: ReadonlyMap<string, MetricsSnapshot>): Promise<string> {
    for (const [worker, snapshot] of snapshots) this.#shown.set(worker, snapshot)
    const labelled = [...this.#shown].map(([worker, snapshot]) => snapshot.map((metric) => (isOurs(metric) ? metric : withLabel(metric, worker))))
    return aggregate([...labelled, ...this.#retired]).metrics()
  }

  /** A process is gone. */
  async retire(worker: string): Promise<void> {
    const last = this.#shown.get(worker)
    this.#shown.delete(worker)
    if (last === undefined) return
    // In this turn: whoever asks meanwhile must not miss it, nor another that goes at the same time overwrite it.
    this.#retired.push(last.filter((metric) => isOurs(metric) && String(metric.type) !== 'gauge'))
    await this.#merge()
  }

  async #merge(): Promise<void> {
    if (this.#merging) return
    this.#merging = true
    try {
      const merged = [...this.#retired]
      this.#retired.splice(0, merged.length, await aggregate(merged).getMetricsAsJSON())
    } finally {
      this.#merging = false
    }
  }
}

function withLabel(metric: MetricsSnapshot[number], worker: string): MetricsSnapshot[number] {
  // Nothing is left to merge: the label keeps them apart.
  return { ...metric, aggregator: 'sum', values: metric.values.map((value) => ({ ...value, labels: { ...value.labels, worker } })) }
}

function aggregate(snapshots: readonly MetricsSnapshot[]) {
  // Typed by what has no values; it needs them (prom-client 15).
  return AggregatorRegistry.aggregate(snapshots.map((snapshot) => [...snapshot]))
}
