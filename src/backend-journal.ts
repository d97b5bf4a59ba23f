import type { Logger } from 'pino'
import type { BackendJournal, CallKind } from './backend/observer.ts'

/** How often what goes on is said again. */
const repeatMs = 10_000

/** An application that has let somebody in so lately is at the address, so that its 404 speaks of what was asked about. */
const trustedMs = 60_000

const names: Readonly<Record<CallKind, string>> = { rooms: 'room authorization', connect: 'connect authorization', introspection: 'introspection' }

interface Line {
  readonly saidAt: number
  unsaid: number
}

/** Logs that questions to the application fail, and when they are answered again: not each, for a flood of joins must not become a flood of the disk. */
export function createBackendJournal(logger: Logger, now: () => number): BackendJournal {
  const failing = new Map<CallKind, Line>()
  const doubtful = new Map<CallKind, Line>()
  const allowedAt = new Map<CallKind, number>()
  return {
    answered(kind, outcome) {
      if (outcome === 'allowed') allowedAt.set(kind, now())
      if (failing.delete(kind)) logger.info(`${names[kind]} is answered again`)
    },
    failed(kind, reason) {
      const unsaid = due(failing, kind, now())
      if (unsaid !== undefined) logger.error({ reason, ...unsaid }, `${names[kind]} fails, so what it decides is refused`)
    },
    doubted(kind, reason) {
      if (now() - (allowedAt.get(kind) ?? Number.NEGATIVE_INFINITY) < trustedMs) return
      const unsaid = due(doubtful, kind, now())
      if (unsaid !== undefined)
        logger.warn({ reason, ...unsaid }, `${names[kind]} is answered as a wrong address would be, so what it decides is refused`)
    },
  }
}

/** What a line that is due says of those that were not written since the last one. */
function due(lines: Map<CallKind, Line>, kind: CallKind, at: number): { readonly unsaid?: number } | undefined {
  const last = lines.get(kind)
  if (last !== undefined && at - last.saidAt < repeatMs) {
    last.unsaid++
    return undefined
  }
  lines.set(kind, { saidAt: at, unsaid: 0 })
  return last === undefined || last.unsaid === 0 ? {} : { unsaid: last.unsaid }
}
