import type { Logger } from 'pino'
import type { AmqpJournal } from './amqp/observer.ts'
import type { ErrorCode } from './errors.ts'

/** How often one reason for a refusal is worth a line. */
const everyMs = 10_000

/** Logs what happens to the consumer, and why messages are refused: one line per code and period, however many there are. Never what is in them. */
export function createAmqpJournal(logger: Logger, now: () => number): AmqpJournal {
  const lines = new Map<ErrorCode, { readonly at: number; suppressed: number }>()
  return {
    attached: (queue) => logger.info({ queue }, 'the AMQP consumer is attached'),
    lost: (reason, retryMs) => logger.warn({ reason, retryMs }, 'no AMQP consumer is attached; trying again until there is one'),
    paused: (reason) => logger.warn({ reason }, 'the AMQP consumer waits: events cannot be stored'),
    resumed: () => logger.info('the AMQP consumer goes on: events can be stored again'),
    refused(code, reason, id) {
      const last = lines.get(code)
      if (last !== undefined && now() - last.at < everyMs) {
        last.suppressed++
        return
      }
      lines.set(code, { at: now(), suppressed: 0 })
      const more = last === undefined || last.suppressed === 0 ? {} : { moreSinceTheLastLine: last.suppressed }
      logger.warn({ code, reason, deadLetter: id, ...more }, 'a message cannot be delivered and goes to the dead-letter queue')
    },
    deadLettersFailing: (reason) =>
      logger.error({ reason }, 'messages cannot be put into the dead-letter queue; they stay in the queue and are tried again'),
    deadLettersWorking: () => logger.info('messages can be put into the dead-letter queue again'),
  }
}
