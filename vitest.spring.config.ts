import { defineConfig } from 'vitest/config'

// Not part of the tests: it fetches Spring.
export default defineConfig({ test: { include: ['test/spring/*.spec.ts'], testTimeout: 60_000 } })
