import { Socket } from 'node:net'
import { toBridgeError } from '../errors.ts'
import type { HandedConnection, WorkerStart } from './messages.ts'
import { startWorker, type Worker } from './worker.ts'

// A worker as a process: started by its parent only, which talks to it over this descriptor and hands over connections as messages of Node.
const parentDescriptor = 4

const parent = new Socket({ fd: parentDescriptor, readable: true, writable: true })
// Whoever writes the log next must not find a reader of before. So without a last word, which would be one in the file of the readers.
const endAtOnce = (): void => void process.kill(process.pid, 'SIGKILL')
parent.on('error', endAtOnce).on('close', endAtOnce).on('end', endAtOnce)
process.on('disconnect', endAtOnce)
// A signal to the group is for the parent, which tells all workers what to do.
process.on('SIGTERM', () => undefined).on('SIGINT', () => undefined)

let worker: Worker | undefined
const onUncaught = (error: unknown): void => {
  if (worker === undefined) {
    const { code, message } = toBridgeError(error)
    console.error(code === 'internal' ? error : `sidecast: a worker cannot start: ${message}`)
    process.exit(1)
  }
  worker.fail(error)
}
process.on('uncaughtException', onUncaught).on('unhandledRejection', onUncaught)

process.once('message', (start: WorkerStart) => {
  worker = startWorker(start, parent, (code) => process.exit(code))
  process.on('message', ({ head }: HandedConnection, socket?: Socket) => worker?.take(socket, Buffer.from(head, 'latin1')))
})
