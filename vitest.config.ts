import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    globalSetup: ['test/support/clear-artifacts.ts'],
    // What takes this long is stuck, also on a slow machine: the tests wait for what is meant, never for a time.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    teardownTimeout: 10_000,
    expect: { poll: { timeout: 60_000 } },
    // Some files start a browser, a JVM or a cluster of their own, but most of the time they wait.
    maxWorkers: Math.max(3, Math.min(4, availableParallelism())),
  },
})
