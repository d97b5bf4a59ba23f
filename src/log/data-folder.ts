import { constants, type Stats } from 'node:fs'
import { access, mkdir, open, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { BridgeError } from '../errors.ts'
import { codeOf, type Ownership, takeOwnership } from './owner.ts'

/** The folder of the log, owned by this process until it is released. */
export interface DataFolder {
  readonly path: string
  /** The log itself. */
  readonly file: string
  /** What is accepted and does not stand in the log itself yet. */
  readonly journalFile: string
  /** See `RememberedNames`. */
  readonly namesFiles: readonly [string, string]
  /** Where a new log is built, before it is moved to its place as a whole. */
  readonly unfinishedFile: string
  release(): Promise<void>
}

/** @throws BridgeError log_in_use, log_read_only, log_foreign */
export async function openDataFolder(directory: string): Promise<DataFolder> {
  const path = resolve(directory)
  try {
    await createFolder(path)
  } catch (error) {
    if (codeOf(error) === 'EEXIST' || codeOf(error) === 'ENOTDIR') {
      throw new BridgeError('log_foreign', `the data folder ${path} is a file: remove it, or choose another data folder`, { cause: error })
    }
    throw readOnly(path, `cannot be created (${codeOf(error) ?? String(error)})`, error)
  }
  const file = join(path, 'log.mdb')
  await checkAccess(path, path, constants.R_OK | constants.W_OK | constants.X_OK)
  if ((await statIfThere(file)) !== undefined) await checkAccess(path, file, constants.R_OK | constants.W_OK)
  const ownership = await own(path)
  return {
    path,
    file,
    journalFile: join(path, 'journal'),
    namesFiles: [join(path, 'names-1'), join(path, 'names-2')],
    unfinishedFile: join(path, 'log.mdb.new'),
    release: () => ownership.release(),
  }
}

/** Parent by parent: Node's recursive `mkdir` never ends where a folder exists and takes no children, as in /proc. */
async function createFolder(path: string): Promise<void> {
  const missing: string[] = []
  let folder = path
  let found = await statIfThere(folder)
  while (found === undefined) {
    missing.unshift(folder)
    folder = dirname(folder)
    found = await statIfThere(folder)
  }
  if (!found.isDirectory()) throw Object.assign(new Error(`${folder} is a file`), { code: 'ENOTDIR' })
  for (const one of missing) {
    await mkdir(one).catch((error: unknown) => {
      // Another process was faster.
      if (codeOf(error) !== 'EEXIST') throw error
    })
    await syncFolder(dirname(one))
  }
}

/** Makes what was created or renamed in a folder survive a power failure: a file's own fsync does not cover its name. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

export async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function own(path: string): Promise<Ownership> {
  try {
    return await takeOwnership(path)
  } catch (error) {
    if (error instanceof BridgeError) throw error
    // A full disk, a file system without Unix sockets or hard links, a folder that became read-only since.
    throw readOnly(path, `cannot hold the file that marks its owner (${codeOf(error) ?? String(error)})`, error)
  }
}

async function checkAccess(folder: string, path: string, mode: number): Promise<void> {
  try {
    await access(path, mode)
  } catch (error) {
    throw readOnly(folder, `cannot be read and written at ${path} (${codeOf(error) ?? String(error)})`, error)
  }
}

function readOnly(folder: string, what: string, cause: unknown): BridgeError {
  return new BridgeError(
    'log_read_only',
    `the data folder ${folder} ${what}: give the user that runs Sidecast read and write access on a local disk with free space`,
    { cause },
  )
}
