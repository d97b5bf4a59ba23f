import { pino } from 'pino'
import { type Bridge, startBridge } from './bridge.ts'
import type { Config } from './config/config.ts'
import { notesOn } from './config/notes.ts'
import type { ConfigSources } from './config/sources.ts'
import { toBridgeError } from './errors.ts'
import { startParent } from './workers/parent.ts'

/** A signal to a group reaches a program below npm several times, once from each npm above it as well. That is one signal. */
const npmEchoMs = 500

/**
 * Runs a bridge as this process until it is told to stop; resolves to the exit code.
 * SIGTERM or SIGINT drains; a second one ends at once. What nobody caught is logged, drains, and exits non-zero.
 */
export async function runBridge(config: Config, sources: ConfigSources): Promise<number> {
  const logger = pino({ level: config.logLevel, base: null })
  const { promise: exit, resolve } = Promise.withResolvers<number>()
  let bridge: Bridge | undefined
  let exitCode: number | undefined
  const echoMs = process.env.npm_lifecycle_event === undefined ? 0 : npmEchoMs
  let signalledAt: number | undefined

  const stop = (code: number): void => {
    exitCode = code
    bridge?.stop().then(
      () => resolve(code),
      () => resolve(1),
    )
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    const now = performance.now()
    if (signalledAt !== undefined && now - signalledAt < echoMs) return
    signalledAt = now
    // Whoever asks twice does not want to wait. What was accepted is stored already.
    if (exitCode !== undefined) {
      // What is opened on a disk that does not answer would hold up an orderly exit for as long. Process 1 cannot be killed so.
      if (bridge === undefined) process.kill(process.pid, 'SIGKILL')
      process.exit(exitCode)
    }
    logger.info({ signal }, 'shutting down; a second signal ends it at once')
    stop(0)
  }
  const onUncaught = (error: unknown): void => {
    logger.fatal({ err: error }, 'a failure that nobody caught: shutting down')
    if (exitCode === undefined) stop(1)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  process.on('uncaughtException', onUncaught)
  process.on('unhandledRejection', onUncaught)

  for (const note of notesOn(config)) logger.warn(note)
  try {
    bridge = config.workers === 1 ? await startBridge(config, logger) : await startParent(config, logger, sources)
    logger.info({ public: bridge.publicUrl, private: bridge.privateUrl, bound: bridge.bound }, 'ready')
  } catch (error) {
    const { code, message } = toBridgeError(error)
    logger.fatal({ code, err: code === 'internal' ? error : undefined }, `cannot start: ${message}`)
    return 1
  }
  // A signal came while it was starting.
  if (exitCode !== undefined) stop(exitCode)
  return exit
}
