import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Ownership, takeOwnership } from '../owner.ts'

/** What a window's folder is called; the rest is random. */
export const windowName = 'window-'

/**
 * Takes the directory of windows that have names, and removes those that an owner has left who could not: one that was killed.
 * @throws BridgeError log_in_use, or the error of the file system
 */
export async function ownWindows(directory: string): Promise<Ownership> {
  await mkdir(directory, { recursive: true })
  const ownership = await takeOwnership(directory)
  for (const name of await readdir(directory)) if (name.startsWith(windowName)) await rm(join(directory, name), { recursive: true, force: true })
  return ownership
}
