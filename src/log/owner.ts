import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, open, readdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join, relative } from 'node:path'
import { BridgeError } from '../errors.ts'

// One process owns the folder. The proof is a Unix socket in it that somebody listens on: the kernel ends it with the process, also on
// `kill -9`, it has no pid that could be reused, and it works between containers of one host that share the volume.
//
// Owners come in generations, `owner.<n>.sock`. To become the next one: the newest socket must be dead, and `link` to the next number
// must succeed, which happens to one process only. The newest socket is never removed, not even by its owner: a slow process that saw
// the one before it dead could otherwise take the number again. Older ones are removed; who takes such a number finds the newer one
// right after and steps back.
const socketName = /^owner\.([1-9]\d{0,14})\.sock$/
// sun_path is 108 bytes on Linux, 104 elsewhere, with the NUL.
const maxSocketPathBytes = 103

export interface Ownership {
  release(): Promise<void>
}

/** @throws BridgeError log_in_use, or the error of the file system. */
export async function takeOwnership(folder: string): Promise<Ownership> {
  const directory = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    const born = `owner.${randomBytes(6).toString('hex')}.new`
    const server = await listen(socketPath(folder, directory, born))
    try {
      const generation = await claim(folder, directory, born)
      await removeOlder(folder, generation)
      return { release: () => stop(server, directory) }
    } catch (error) {
      await stop(server)
      throw error
    } finally {
      await rm(join(folder, born), { force: true })
    }
  } catch (error) {
    await directory.close()
    throw error
  }
}

async function claim(folder: string, directory: FileHandle, born: string): Promise<number> {
  for (;;) {
    const newest = Math.max(0, ...(await generations(folder)))
    if (newest > 0 && (await isAlive(socketPath(folder, directory, `owner.${newest}.sock`)))) {
      throw new BridgeError(
        'log_in_use',
        `the data folder ${folder} is in use by another process: stop that one, or give this one a folder of its own`,
      )
    }
    const mine = newest + 1
    try {
      await link(join(folder, born), join(folder, `owner.${mine}.sock`))
    } catch (error) {
      if (codeOf(error) === 'EEXIST') continue
      throw error
    }
    if (Math.max(...(await generations(folder))) === mine) return mine
    await rm(join(folder, `owner.${mine}.sock`), { force: true })
  }
}

async function generations(folder: string): Promise<readonly number[]> {
  return (await readdir(folder)).flatMap((name) => {
    const match = socketName.exec(name)
    return match === null ? [] : [Number(match[1])]
  })
}

async function removeOlder(folder: string, generation: number): Promise<void> {
  for (const older of await generations(folder)) {
    if (older < generation) await rm(join(folder, `owner.${older}.sock`), { force: true })
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', reject)
    server.listen(path, () => {
      server.removeListener('error', reject)
      // Nobody who connects can end the process, and the socket alone does not keep it running.
      server.on('error', () => undefined)
      server.unref()
      resolve(server)
    })
  })
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error) => {
      // Refused: nobody listens. Gone: the list is read again. All else (a full backlog, no permission) says nothing about death.
      resolve(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT')
    })
  })
}

async function stop(server: Server, directory?: FileHandle): Promise<void> {
  await new Promise((resolve) => server.close(resolve))
  await directory?.close()
}

/** A path short enough for a socket address: as it is, from the working folder, or through the open folder. */
function socketPath(folder: string, directory: FileHandle, name: string): string {
  const candidates = [join(folder, name), relative(process.cwd(), join(folder, name))]
  if (process.platform === 'linux') candidates.push(`/proc/self/fd/${directory.fd}/${name}`)
  const path = candidates.find((candidate) => Buffer.byteLength(candidate) <= maxSocketPathBytes)
  if (path === undefined)
    throw new BridgeError('log_read_only', `the path of the data folder ${folder} is too long for this platform: choose a shorter one`)
  return path
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
