import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

let root: string | undefined

/** A path for data that is removed after the file's tests; nothing is there yet. */
export function folderNamed(name: string): string {
  if (root === undefined) {
    root = mkdtempSync(join(tmpdir(), 'sidecast-log-'))
  }
  return join(root, name)
}

export function newFolder(): string {
  return folderNamed(crypto.randomUUID())
}

/** As a snapshot of the file system would, if nothing is written meanwhile. */
export function copyFolder(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('.sock') })
}

afterAll(() => {
  if (root !== undefined) rmSync(root, { recursive: true, force: true })
})
