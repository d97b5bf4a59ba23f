import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { hasKernelWrite } from './kernel-write.ts'

/** How frames get to the network: `kernel` past Engine.IO and past Node's stream, `stream` past Engine.IO only, `engine` through it. */
export type WriteWay = 'kernel' | 'stream' | 'engine'

/** As in `package.json`; undefined where that cannot be found. */
export interface Versions {
  readonly node: string
  readonly engineIo: string | undefined
  readonly ws: string | undefined
}

// The shorter ways rely on fields that are not documented. Elsewhere the same names may mean something else, so these are the versions that they were tested with.
const tested = { node: /^24\./, engineIo: /^6\.6\./, ws: /^8\.23\./ } as const

const notes: Readonly<Record<WriteWay, string>> = {
  kernel: 'frames are written straight to the TCP connection',
  stream: "frames are written through Node's streams, which is slower: the shorter way is not known to be right with this Node",
  engine: 'frames are written through Engine.IO, which is slower: the shorter way is not known to be right with this engine.io or ws',
}

/** What is installed, the way that is taken with it, and what to say of it. */
export function findWriteWay(): { readonly writeWay: WriteWay; readonly versions: Versions; readonly note: string } {
  const versions = installedVersions()
  const way = writeWayOf(versions)
  const writeWay = way === 'kernel' && !hasKernelWrite() ? 'stream' : way
  return { writeWay, versions, note: notes[writeWay] }
}

/** The shortest way that is known to be right with these versions. */
export function writeWayOf({ node, engineIo = '', ws = '' }: Versions): WriteWay {
  if (!tested.engineIo.test(engineIo) || !tested.ws.test(ws)) return 'engine'
  return tested.node.test(node) ? 'kernel' : 'stream'
}

function installedVersions(): Versions {
  const require = createRequire(import.meta.url)
  return {
    node: process.versions.node,
    // The one that Socket.IO uses, which hands out no description of itself.
    engineIo: readVersion(() =>
      createRequire(require.resolve('socket.io'))
        .resolve('engine.io')
        .replace(/build[\\/][^\\/]+$/, 'package.json'),
    ),
    ws: readVersion(() => require.resolve('ws/package.json')),
  }
}

function readVersion(find: () => string): string | undefined {
  try {
    const { version }: { readonly version?: unknown } = JSON.parse(readFileSync(find(), 'utf8'))
    return typeof version === 'string' ? version : undefined
  } catch {
    return undefined
  }
}
