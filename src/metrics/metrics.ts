import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Observer } from '../core/observer.ts'
import { type AmqpMetrics, createAmqpMetrics } from './amqp-metrics.ts'
import { type BackendMetrics, createBackendMetrics } from './backend-metrics.ts'
import type { EventLoopDelay } from './event-loop-delay.ts'
import { eventLoopDelayMetric, type MetricsSnapshot } from './process-metrics.ts'

export interface MetricsOptions {
  /** How many sessions there are now. */
  readonly sessions: () => number
  /** How many messages the broker has delivered and Sidecast has not acked. */
  readonly unackedMessages: () => number
  /** See `LogHealth`; absent where the log is not shared, or another process has the line to it. */
  readonly canaryAgeMs?: () => number | undefined
  readonly eventLoop?: Pick<EventLoopDelay, 'take'>
  /** How many bytes wait for clients. Absent: this process has none. */
  readonly waitingBytes?: () => number
  /** Gets what the observer is told of as failed. */
  readonly onFailure: (error: unknown) => void
}

export interface Metrics {
  readonly observer: Observer
  readonly amqp: AmqpMetrics
  readonly backend: BackendMetrics
  readonly contentType: string
  /** All metrics in the text format of Prometheus. */
  render(): Promise<string>
  /** The same, for another process. */
  snapshot(): Promise<MetricsSnapshot>
  requestServed(served: {
    readonly method: string
    readonly route: string
    readonly status: string
    readonly seconds: number
    readonly credential?: string
  }): void
}

/** What has happened, counted. Labels hold codes, ends and routes only: a user, a room or an event name as a label would grow without bound. */
export function createMetrics({ sessions, unackedMessages, waitingBytes = () => 0, eventLoop, canaryAgeMs, onFailure }: MetricsOptions): Metrics {
  const registry = new Registry()
  const registers = [registry]
  // The names that dashboards know: process_*, nodejs_*, with the delay of the event loop among them.
  collectDefaultMetrics({ register: registry })
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Counter({ name: `sidecast_${name}`, help, labelNames, registers })

  new Gauge({
    name: 'sidecast_sessions',
    help: 'Sessions that are open.',
    registers,
    collect() {
      this.set(sessions())
    },
  })
  new Gauge({
    name: 'sidecast_waiting_bytes',
    help: 'Bytes that wait in memory for clients that are slow.',
    registers,
    collect() {
      this.set(waitingBytes())
    },
  })
  if (eventLoop !== undefined)
    new Gauge({
      name: eventLoopDelayMetric,
      help: 'For how long the event loop was held in one turn, since the metrics were read last.',
      labelNames: ['stat'],
      registers,
      collect() {
        const { p99, max } = eventLoop.take()
        this.set({ stat: 'p99' }, p99)
        this.set({ stat: 'max' }, max)
      },
    })
  const published = counter('events_published_total', 'Events that were stored.')
  const duplicates = counter('events_duplicate_total', 'Events that had been stored before under the same id.')
  const dispatched = new Counter({
    name: 'sidecast_events_dispatched_total',
    help: 'Events that were read back from the log and handed to sessions.',
    // Every worker gets every event.
    aggregator: 'max',
    registers,
  })
  const matched = counter('events_matched_total', 'Sessions that dispatched events were for, summed over the events.')
  const refused = counter('publish_refused_total', 'Events and calls that were refused.', ['code'])
  const opened = counter('sessions_opened_total', 'Sessions that began or resumed.')
  const closed = counter('sessions_closed_total', 'Sessions that ended.', ['end'])
  const resumed = counter('sessions_resumed_total', 'Sessions that caught up after an offset.')
  const resumedEvents = counter('events_resumed_total', 'Events that sessions caught up on.')
  const notResumed = counter('resumes_refused_total', 'Clients that asked to resume and had to start anew.', ['reason'])
  const handshakes = counter('handshakes_refused_total', 'Logins of browsers that were refused.', ['code'])
  const notGranted = counter('requests_refused_total', 'Joins, leaves and refreshes of sessions that were refused.', ['request', 'code'])
  // Every worker knows them all.
  const revocations = new Counter({ name: 'sidecast_revocations_total', help: 'Revocations that came into force.', aggregator: 'max', registers })
  const revocationsInForce = new Gauge({ name: 'sidecast_revocations', help: 'Revocations that are kept.', aggregator: 'max', registers })
  if (canaryAgeMs !== undefined) {
    new Gauge({
      name: 'sidecast_log_canary_age_seconds',
      help: 'How long ago the newest proof was sent to the shared log that has come back.',
      registers,
      collect() {
        const ageMs = canaryAgeMs()
        if (ageMs !== undefined) this.set(ageMs / 1000)
      },
    })
  }
  const failures = counter('failures_total', 'Things that should not happen, did, and were survived.')
  const requests = counter('http_requests_total', 'Requests to the ingress.', ['method', 'route', 'status'])
  const credentials = counter('http_credentials_total', 'Requests to the ingress, by the name of the key that they came with.', ['credential'])
  const durations = new Histogram({
    name: 'sidecast_http_request_duration_seconds',
    help: 'From the headers of a request to the end of its answer.',
    labelNames: ['route'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers,
  })

  return {
    observer: {
      eventsPublished(count, repeated) {
        published.inc(count)
        duplicates.inc(repeated)
      },
      eventDispatched(count) {
        dispatched.inc()
        matched.inc(count)
      },
      publishRefused: (code) => refused.inc({ code }),
      sessionOpened: () => opened.inc(),
      sessionClosed: (end) => closed.inc({ end }),
      sessionResumed(events) {
        resumed.inc()
        resumedEvents.inc(events)
      },
      resumeRefused: (reason) => notResumed.inc({ reason }),
      handshakeRefused: (code) => handshakes.inc({ code }),
      requestRefused: (request, code) => notGranted.inc({ request, code }),
      revoked: () => revocations.inc(),
      revocationsInForce: (count) => revocationsInForce.set(count),
      failed(error) {
        failures.inc()
        onFailure(error)
      },
    },
    amqp: createAmqpMetrics(registry, unackedMessages),
    backend: createBackendMetrics(registry),
    contentType: registry.contentType,
    render: () => registry.metrics(),
    snapshot: () => registry.getMetricsAsJSON(),
    requestServed({ method, route, status, seconds, credential }) {
      requests.inc({ method, route, status })
      if (credential !== undefined) credentials.inc({ credential })
      durations.observe({ route }, seconds)
    },
  }
}
