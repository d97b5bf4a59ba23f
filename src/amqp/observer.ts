import type { ErrorCode } from '../errors.ts'

/** Told in numbers what the AMQP ingress did. */
export interface AmqpObserver {
  /** Messages that the broker delivered, redeliveries among them. */
  messagesConsumed(count: number): void
  /** Messages that one commit stored, those that had been stored before under the same id, and the age of the oldest of them as far as it is known. */
  messagesAppended(count: number, duplicates: number, oldestAgeSeconds: number | undefined): void
  /** A message stands in the dead-letter queue: the broker has confirmed it. */
  messageDeadLettered(code: ErrorCode): void
  /** Messages that could not be stored, or not be put into the dead-letter queue, and are tried again. */
  messagesRetried(count: number): void
  /** The consumer was lost, or could not be attached, and is attached anew. */
  consumerLost(): void
}

/** Told in words what an operator should know. Each is said when it changes, not each time that it is tried. */
export interface AmqpJournal {
  attached(queue: string): void
  /** The consumer is gone, or could not be attached; it is tried again in so many milliseconds. */
  lost(reason: string, retryMs: number): void
  /** Events cannot be stored: nothing is acked until they can. */
  paused(reason: string): void
  resumed(): void
  /** Told once for a message, when it is refused. `id`: the header of the dead letter by which it is found. */
  refused(code: ErrorCode, reason: string, id: string): void
  /** What cannot be delivered cannot be put into the dead-letter queue either; it stays in the queue and is tried again. */
  deadLettersFailing(reason: string): void
  deadLettersWorking(): void
}
