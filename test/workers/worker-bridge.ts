import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { callIngress } from '../support/bridge.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import type { TestSession } from '../support/client.ts'

export interface WorkerBridge {
  readonly process: BridgeProcess
  readonly publicUrl: string
  readonly privateUrl: string
  readonly directory: string
  call(method: string, path: string, body?: unknown): ReturnType<typeof callIngress>
  /** By the numbers of the workers. */
  workerPids(): Promise<ReadonlyMap<number, number>>
  /** Calls until the answer is what is meant: what one process does, another knows a moment later. */
  eventually(path: string, holds: (body: Readonly<Record<string, unknown>>) => boolean): Promise<Readonly<Record<string, unknown>>>
  [Symbol.asyncDispose](): Promise<void>
}

/** A bridge with workers, as processes of their own. */
export async function startWorkerBridge(settings: Readonly<Record<string, string>> = {}, directory?: string): Promise<WorkerBridge> {
  const data = directory ?? (await mkdtemp(join(tmpdir(), 'sidecast-workers-')))
  const process = new BridgeProcess({ WORKERS: '3', ...settings }, { directory: data })
  const { publicUrl, privateUrl } = await process.ready()
  const call: WorkerBridge['call'] = (method, path, body) => callIngress(privateUrl, method, path, body)
  return {
    process,
    publicUrl,
    privateUrl,
    directory: data,
    call,
    workerPids: () => childrenOf(process.child.pid ?? 0),
    async eventually(path, holds) {
      for (;;) {
        const { body } = await call('GET', path)
        if (holds(body)) return body
        await setTimeout(20)
      }
    },
    async [Symbol.asyncDispose]() {
      await process.kill()
      if (directory === undefined) await rm(data, { recursive: true })
    },
  }
}

async function childrenOf(pid: number): Promise<ReadonlyMap<number, number>> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter((child) => child !== '')
  const named = await Promise.all(
    children.map(async (child) => {
      const [, number] = /worker-(\d+)/.exec(await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')) ?? []
      return [Number(number), Number(child)] as const
    }),
  )
  return new Map(named.filter(([number]) => number > 0))
}

/** Resolves when the process is no more. */
export async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0)
    } catch {
      return
    }
    await setTimeout(10)
  }
}

/** The number of the worker that a session is at. */
export function workerOf({ socket }: TestSession): number {
  return Number(String(socket.io.engine.id).split('.')[0])
}
