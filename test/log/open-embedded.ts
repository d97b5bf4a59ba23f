import { afterEach } from 'vitest'
import { EmbeddedLog, type EmbeddedLogOptions } from '../../src/log/embedded.ts'

const opened: EmbeddedLog[] = []

/** An embedded log that is closed after the test, with what it reported. */
export async function openEmbedded(
  directory: string,
  options: Partial<EmbeddedLogOptions> = {},
): Promise<{ readonly log: EmbeddedLog; readonly failures: readonly unknown[] }> {
  const failures: unknown[] = []
  const log = await EmbeddedLog.open({
    directory,
    durability: 'disk',
    retentionAgeMs: 1e12,
    retentionEvents: 1e9,
    dedupeWindowMs: 1e12,
    now: Date.now,
    onFailure: (error) => failures.push(error),
    sweepMs: 5,
    canaryMs: 20,
    ...options,
  })
  opened.push(log)
  return { log, failures }
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((log) => log.close()))
})
