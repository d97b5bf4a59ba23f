import { Counter, Histogram, type Registry } from 'prom-client'

type CallKind = 'rooms' | 'connect' | 'introspection'

/** What came of asking the application, counted. */
export interface BackendMetrics {
  asked(call: CallKind, outcome: 'allowed' | 'denied' | 'failed', seconds: number): void
  answeredFromCache(call: CallKind): void
}

export function createBackendMetrics(registry: Registry): BackendMetrics {
  const registers = [registry]
  const calls = new Counter({
    name: 'sidecast_backend_calls_total',
    help: 'Questions to the application and to the authorization server.',
    labelNames: ['call', 'outcome'],
    registers,
  })
  const cached = new Counter({
    name: 'sidecast_backend_cached_total',
    help: 'Questions that an answer of a moment ago, or one that was under way, has answered.',
    labelNames: ['call'],
    registers,
  })
  const durations = new Histogram({
    name: 'sidecast_backend_call_duration_seconds',
    help: 'From a question to its answer or failure, waiting for its turn included.',
    labelNames: ['call'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  })
  return {
    asked(call, outcome, seconds) {
      calls.inc({ call, outcome })
      durations.observe({ call }, seconds)
    },
    answeredFromCache: (call) => cached.inc({ call }),
  }
}
