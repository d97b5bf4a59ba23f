import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { callIngress } from '../support/bridge.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import { freePorts } from '../support/free-ports.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

/** One of several processes on one Redis, that may be killed, and cut off from Redis and from its clients. */
export interface ClusterNode {
  readonly name: string
  readonly process: BridgeProcess
  /** The ways to it stay what they are, whatever is killed. */
  readonly publicUrl: string
  readonly privateUrl: string
  readonly toRedis: TcpProxy
  readonly toClients: TcpProxy
  call(method: string, path: string, body?: unknown): ReturnType<typeof callIngress>
  /** SIGKILL, and another one with the same addresses, which need not be ready. */
  replace(): Promise<void>
}

export interface Cluster {
  readonly nodes: readonly ClusterNode[]
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Resolves when all are ready. */
export async function startCluster(
  redis: { readonly port: number },
  count: number,
  /** The same for all, or of the node with an index. */
  settings: Readonly<Record<string, string>> | ((index: number) => Readonly<Record<string, string>>) = {},
): Promise<Cluster> {
  const settingsOf = typeof settings === 'function' ? settings : () => settings
  const root = await mkdtemp(join(tmpdir(), 'sidecast-nodes-'))
  const nodes = await Promise.all(Array.from({ length: count }, (_, index) => startNode(redis, join(root, `node-${index}`), settingsOf(index))))
  const close = async (): Promise<void> => {
    await Promise.all(nodes.map(({ node, close }) => close(node)))
    await rm(root, { recursive: true, force: true })
  }
  await Promise.all(nodes.map(({ node }) => node.process.ready()))
  return { nodes: nodes.map(({ node }) => node), close, [Symbol.asyncDispose]: close }
}

async function startNode(redis: { readonly port: number }, directory: string, settings: Readonly<Record<string, string>>) {
  const [publicPort = 0, privatePort = 0] = await freePorts(2)
  const toRedis = await startTcpProxy({ host: '127.0.0.1', port: redis.port })
  const toClients = await startTcpProxy({ host: '127.0.0.1', port: publicPort })
  const own = {
    PUBLIC_PORT: String(publicPort),
    PRIVATE_PORT: String(privatePort),
    REDIS_URL: `redis://127.0.0.1:${toRedis.port}`,
    ...settings,
  }
  const privateUrl = `http://127.0.0.1:${privatePort}`
  let current = new BridgeProcess(own, { directory })
  const node: ClusterNode = {
    name: directory.slice(directory.lastIndexOf('/') + 1),
    get process() {
      return current
    },
    publicUrl: `http://127.0.0.1:${toClients.port}`,
    privateUrl,
    toRedis,
    toClients,
    call: (method, path, body) => callIngress(privateUrl, method, path, body),
    async replace() {
      await current.kill()
      current = new BridgeProcess(own, { directory })
    },
  }
  const close = async ({ process }: ClusterNode): Promise<void> => {
    await process.kill()
    await Promise.all([toRedis.close(), toClients.close()])
  }
  return { node, close }
}
