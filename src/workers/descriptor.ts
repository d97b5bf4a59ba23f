import type { Socket } from 'node:net'
import { BridgeError } from '../errors.ts'

/** What the kernel knows a connection by, below Node's socket. */
export interface Descriptor {
  /**
   * Stops reading. What a paused socket has read ahead would be lost when it is handed over, so the descriptor itself must be left alone: Node's own `pause`
   * reads on until its buffer is full.
   */
  readStop(): void
  /** Idempotent. */
  close(): void
}

/** The descriptor that a socket holds at the moment: a private field of Node (24). @throws BridgeError internal */
export function descriptorOf(socket: Socket): Descriptor {
  const handle: unknown = Reflect.get(socket, '_handle')
  if (!isDescriptor(handle)) throw new BridgeError('internal', 'this version of Node cannot hand over connections: set SIDECAST_WORKERS=1')
  return handle
}

function isDescriptor(handle: unknown): handle is Descriptor {
  return (
    typeof handle === 'object' &&
    handle !== null &&
    'readStop' in handle &&
    typeof handle.readStop === 'function' &&
    'close' in handle &&
    typeof handle.close === 'function'
  )
}
