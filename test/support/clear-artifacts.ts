import { mkdirSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Where tests leave what is worth a look. */
const artifacts = fileURLToPath(new URL('../../test-artifacts', import.meta.url))

/** What lies there afterwards is of this run. */
export function setup(): void {
  rmSync(artifacts, { recursive: true, force: true })
  mkdirSync(artifacts, { recursive: true })
}
