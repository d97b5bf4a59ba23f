import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { writeHeapSnapshot } from 'node:v8'
import { pino } from 'pino'
import { Server } from 'socket.io'
import { startBridge } from '../../src/bridge.ts'
import { loadConfig } from '../../src/config/config.ts'

// A server in a process of its own, so that its memory can be looked at: the bridge, configured by the environment, or stock Socket.IO.
const [kind = '', directory = ''] = process.argv.slice(2)

/** What each question is answered with. */
const answers: Record<string, (argument: string) => unknown> = {
  memory: async () => {
    // What the first collection has let go of outside the heap is counted until the second.
    globalThis.gc?.()
    await setImmediate()
    globalThis.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  },
  snapshot: (path) => {
    // The engine remembers the last text that a regular expression was tried on.
    ;/./.test('something else')
    return writeHeapSnapshot(path)
  },
}

process.on('message', async ({ question, argument }: { readonly question: string; readonly argument: string }) => {
  process.send?.({ answer: await answers[question]?.(argument) })
})
// Whoever has started it is gone.
process.on('disconnect', () => process.exit())

process.send?.(kind === 'stock' ? await startStock() : await startOurs())

async function startOurs() {
  const config = loadConfig({ args: [], env: process.env, cwd: directory })
  const { publicUrl, privateUrl } = await startBridge(config, pino({ level: config.logLevel }))
  return { publicUrl, privateUrl }
}

async function startStock() {
  const server = createServer()
  const io = new Server(server)
  answers.sockets = () => io.of('/looked-up').sockets.size
  // Like every server that asks somebody else about a token.
  io.of('/looked-up').use((_socket, next) => void setTimeout(next, 200))
  let middlewareRuns = 0
  answers.middlewareRuns = () => middlewareRuns
  io.of('/refused').use((_socket, next) => {
    middlewareRuns++
    next(new Error('refused'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { publicUrl: `http://127.0.0.1:${port}`, privateUrl: '' }
}
