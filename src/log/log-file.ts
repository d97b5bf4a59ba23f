import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { open, rename, rm, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { BridgeError } from '../errors.ts'
import { type DataFolder, statIfThere, syncFolder } from './data-folder.ts'
import { Journal } from './journal.ts'
import { checkPages, type Rows } from './page-check.ts'
import { recover } from './recovery.ts'
import { Reserve } from './reserve.ts'
import { beginRuns, Runs, randomName } from './runs.ts'
import { emptyState, encodeState } from './state.ts'
import { formatKey, Store, stateKey } from './store.ts'

const formatName = 'sidecast-log'
// 2: there is a journal beside the file, which may have what the file lacks. The file itself is as in 1.
const formatVersion = 2
const readableVersions: readonly number[] = [1, formatVersion]
// More than 240 readers take, a cache line each.
const lockFileBytes = 16_384

const formatSchema = z.object({ name: z.literal(formatName), version: z.number() })
const identitySchema = z.object({
  epoch: z.string().regex(/^[a-z0-9]{8,}$/),
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  /** While a log that is not synced is open: the boot of the machine. Afterwards absent. */
  unsynced: z.string().optional(),
})

/** What makes this log this log. */
interface LogIdentity {
  readonly epoch: string
  readonly secret: Uint8Array
}

export interface LogFile {
  readonly store: Store
  readonly reserve: Reserve
  readonly journal: Journal
  readonly identity: LogIdentity
  readonly runs: Runs
  /** `settled`: the tables have all that the journal has. */
  close(settled: boolean): Promise<void>
}

/** @throws BridgeError log_foreign, log_damaged */
export async function openLogFile(folder: DataFolder, durability: 'disk' | 'process'): Promise<LogFile> {
  if ((await statIfThere(folder.file)) === undefined) await createLogFile(folder)
  const row = checkFormat(await readMeta(folder), folder)
  // What the operating system had not written when the machine went down is lost, and positions that clients saw will be given out
  // again: their offsets must not be mistaken for ours.
  const survived = row.unsynced === undefined || row.unsynced === bootId()
  const identity = survived ? { epoch: row.epoch, secret: row.secret } : newIdentity()
  await allocateLockFile(folder.file)
  const reserve = await Reserve.open(folder.file)
  const { store, runs, journal } = await openStore(folder, durability, identity, reserve).catch(async (error: unknown) => {
    await reserve.close()
    throw error
  })
  return {
    store,
    reserve,
    journal,
    identity: { epoch: identity.epoch, secret: Buffer.from(identity.secret, 'hex') },
    runs,
    close: async (settled) => {
      await reserve.close()
      try {
        await close(store, identity, durability)
        if (settled) await journal.clear()
      } finally {
        await journal.close()
      }
    },
  }
}

async function openStore(
  folder: DataFolder,
  durability: 'disk' | 'process',
  identity: z.infer<typeof identitySchema>,
  reserve: Reserve,
): Promise<Pick<LogFile, 'store' | 'runs' | 'journal'>> {
  const store = new Store(folder.file, durability === 'disk')
  try {
    await putFormat(store, durability === 'disk' ? identity : { ...identity, unsynced: bootId() })
    await beginRuns(store)
    await recover(store, reserve, folder.journalFile, identity.secret)
    if (durability === 'process') await store.sync()
    const runs = Runs.load(store, identity.epoch, (store.state() ?? emptyState).head)
    const journal = await Journal.open(folder.journalFile, durability === 'disk', identity.secret, runs.current)
    return { store, runs, journal }
  } catch (error) {
    await store.close()
    throw error
  }
}

async function close(store: Store, identity: z.infer<typeof identitySchema>, durability: 'disk' | 'process'): Promise<void> {
  try {
    if (durability === 'process') {
      // In this order: the mark may only go when everything before it is on the disk.
      await store.sync()
      await putFormat(store, identity)
      await store.sync()
    }
  } finally {
    await store.close()
  }
}

/** Built beside its place and moved there as a whole: a log that is there is complete, whenever the power fails. */
async function createLogFile(folder: DataFolder): Promise<void> {
  const { unfinishedFile } = folder
  await rm(unfinishedFile, { force: true })
  await allocateLockFile(unfinishedFile)
  const store = new Store(unfinishedFile, true)
  try {
    await store.write(() => store.tables.meta.put(stateKey, encodeState(emptyState)))
    await putFormat(store, newIdentity())
  } finally {
    await store.close()
  }
  await rm(`${unfinishedFile}-lock`, { force: true })
  await rename(unfinishedFile, folder.file)
  await syncFolder(folder.path)
}

/**
 * LMDB maps a lock file that is one hole, and writing into a hole on a full disk ends the process by a signal. So it gets its blocks
 * first; LMDB, alone with the folder, fills it in. A new file each time: a worker that outlives its parent for a moment still holds the old one.
 */
async function allocateLockFile(file: string): Promise<void> {
  await rm(`${file}-lock`, { force: true })
  await writeFile(`${file}-lock`, Buffer.alloc(lockFileBytes))
}

async function putFormat(store: Store, identity: z.infer<typeof identitySchema>): Promise<void> {
  const row = Buffer.from(JSON.stringify({ name: formatName, version: formatVersion, ...identity }))
  // Opening writes nothing when nothing changes: a full disk does not keep a log from being read.
  if (store.tables.meta.get(formatKey)?.equals(row)) return
  await store.write(() => store.tables.meta.put(formatKey, row))
}

function newIdentity(): z.infer<typeof identitySchema> {
  return { epoch: randomName(10), secret: randomBytes(32).toString('hex') }
}

async function readMeta(folder: DataFolder): Promise<Rows | undefined> {
  const file = await open(folder.file, 'r')
  try {
    return checkPages(file.fd, (await file.stat()).size, folder.file, 'meta')
  } finally {
    await file.close()
  }
}

function checkFormat(rows: Rows | undefined, { file }: DataFolder): z.infer<typeof identitySchema> {
  const json = parseJson(rows?.get(formatKey.toString())?.toString())
  const format = formatSchema.safeParse(json)
  if (!format.success) {
    throw new BridgeError('log_foreign', `${file} belongs to another application: choose another data folder`)
  }
  if (!readableVersions.includes(format.data.version)) {
    throw new BridgeError(
      'log_foreign',
      `${file} has version ${format.data.version} of the format, and this Sidecast knows version ${formatVersion}: start the version that wrote it, or choose another data folder`,
    )
  }
  const identity = identitySchema.safeParse(json)
  if (!identity.success || rows?.get(stateKey.toString())?.length !== 32) {
    throw new BridgeError(
      'log_damaged',
      `the event log ${file} has lost its own description: restore it from a backup, or move it away to start an empty log`,
    )
  }
  return identity.data
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? 'null')
  } catch {
    return undefined
  }
}

/** Another one after each start of the machine; where it cannot be known, never the same. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return randomBytes(16).toString('hex')
  }
}
