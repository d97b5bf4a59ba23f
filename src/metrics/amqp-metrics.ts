import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { ErrorCode } from '../errors.ts'

/** What the AMQP ingress has done, counted. */
export interface AmqpMetrics {
  messagesConsumed(count: number): void
  messagesAppended(count: number, duplicates: number, oldestAgeSeconds: number | undefined): void
  messageDeadLettered(code: ErrorCode): void
  messagesRetried(count: number): void
  consumerLost(): void
}

export function createAmqpMetrics(registry: Registry, unacked: () => number): AmqpMetrics {
  const registers = [registry]
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Counter({ name: `sidecast_amqp_${name}`, help, labelNames, registers })

  const consumed = counter('consumed_total', 'Messages that the broker delivered, redeliveries among them.')
  const appended = counter('appended_total', 'Messages that were stored.')
  const duplicate = counter('duplicate_total', 'Messages that had been stored before under the same id.')
  const deadLettered = counter('dead_lettered_total', 'Messages that were put into the dead-letter queue.', ['code'])
  const retried = counter('retried_total', 'Attempts to store or dead-letter a message that failed and are made again.')
  const reconnects = counter('reconnects_total', 'Times that the consumer was lost, or could not be attached, and was attached anew.')
  new Gauge({
    name: 'sidecast_amqp_unacked',
    help: 'Messages that are delivered and not acked.',
    registers,
    collect() {
      this.set(unacked())
    },
  })
  const age = new Histogram({
    name: 'sidecast_amqp_oldest_age_seconds',
    help: 'The age of the oldest message of each commit, by the timestamps that publishers set (whole seconds).',
    buckets: [1, 2, 5, 10, 30, 60, 300, 1800, 7200],
    registers,
  })

  return {
    messagesConsumed: (count) => consumed.inc(count),
    messagesAppended(count, duplicates, oldestAgeSeconds) {
      appended.inc(count)
      duplicate.inc(duplicates)
      if (oldestAgeSeconds !== undefined) age.observe(oldestAgeSeconds)
    },
    messageDeadLettered: (code) => deadLettered.inc({ code }),
    messagesRetried: (count) => retried.inc(count),
    consumerLost: () => reconnects.inc(),
  }
}
