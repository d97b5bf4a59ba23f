import type { Logger } from 'pino'
import type { BackendJournal, CallKind } from './backend/observer.ts'

/** How often a failure that goes on is said again. */
const repeatMs = 10_000

const names: Readonly<Record<CallKind, string>> = { rooms: 'room authorization', connect: 'connect authorization', introspection: 'introspection' }

/** Logs that questions to the application fail, and when they are answered again: not each, for a flood of joins must not become a flood of the disk. */
export function createBackendJournal(logger: Logger, now: () => number): BackendJournal {
  const failing = new Map<CallKind, { saidAt: number; unsaid: number }>()
  return {
    answered(kind) {
      if (failing.delete(kind)) logger.info(`${names[kind]} is answered again`)
    },
    failed(kind, reason) {
      const state = failing.get(kind)
      if (state !== undefined && now() - state.saidAt < repeatMs) {
        state.unsaid++
        return
      }
      failing.set(kind, { saidAt: now(), unsaid: 0 })
      const unsaid = state?.unsaid ?? 0
      logger.error({ reason, ...(unsaid === 0 ? {} : { unsaid }) }, `${names[kind]} fails, so what it decides is refused`)
    },
  }
}
