import type { Socket as TcpSocket } from 'node:net'

/** What Node makes of one write. Ours is not used up when the kernel takes all bytes at once. */
interface WriteRequest {
  /** Kept from being collected until the kernel has it. */
  buffer?: Buffer
  oncomplete?: (...outcome: readonly unknown[]) => void
}

/** What is under a `net.Socket` of Node 24. */
export interface TcpHandle {
  /** Returns 0 or an error number. */
  writeBuffer(request: WriteRequest, bytes: Buffer): number
}

/** Parts of Node that are its own affair. */
interface Binding {
  readonly WriteWrap: new () => WriteRequest
  /** What became of the last write, by the places below. */
  readonly streamBaseState: Int32Array
  readonly kLastWriteWasAsync: number
  readonly Tcp: unknown
}

/** Looked for when somebody wants it: it is nothing to be touched in a Node that is not known. */
let binding: Binding | undefined
let isSought = false
/** The next write's, whosever that is. */
let request: WriteRequest | undefined

/** Whether this Node has what `kernelWrite` needs. */
export function hasKernelWrite(): boolean {
  if (!isSought) {
    isSought = true
    binding = findBinding()
    request = binding && new binding.WriteWrap()
  }
  return binding !== undefined
}

/** Undefined: this is not the Node that is known, or not a plain TCP connection, and the stream has to be used. */
export function tcpHandleOf(tcp: TcpSocket): TcpHandle | undefined {
  if (!hasKernelWrite()) return undefined
  const handle: unknown = Reflect.get(tcp, '_handle')
  return binding !== undefined && isTcpHandle(handle, binding) ? handle : undefined
}

/**
 * The same as `tcp.write` for a stream that is open and has nothing to write, without what a stream makes for each write: nearly always the kernel takes
 * all bytes at once, and then nobody has to know. When it does not, the stream is told as if it had done it, and counts what waits, its end and its errors.
 */
export function kernelWrite(tcp: TcpSocket, handle: TcpHandle, bytes: Buffer): void {
  if (binding === undefined || request === undefined) {
    tcp.write(bytes)
    return
  }
  const error = handle.writeBuffer(request, bytes)
  if (error === 0 && binding.streamBaseState[binding.kLastWriteWasAsync] === 0) return
  const issued = request
  request = new binding.WriteWrap()
  issued.buffer = bytes
  let isTold = false
  // The stream's next write is this one. It reads of the same state whether the write is still under way.
  Object.defineProperty(handle, 'writeBuffer', {
    configurable: true,
    value(theirs: Required<WriteRequest>) {
      isTold = true
      issued.oncomplete = (...outcome) => theirs.oncomplete(...outcome)
      return error
    },
  })
  tcp.write(bytes)
  Reflect.deleteProperty(handle, 'writeBuffer')
  // It had something to write after all, and would write these bytes a second time behind that.
  if (!isTold) tcp.destroy()
}

function findBinding(): Binding | undefined {
  try {
    const find: unknown = Reflect.get(process, 'binding')
    if (typeof find !== 'function') return undefined
    const { WriteWrap, streamBaseState, kLastWriteWasAsync } = find.call(process, 'stream_wrap')
    const { TCP: Tcp } = find.call(process, 'tcp_wrap')
    if (typeof WriteWrap !== 'function' || !(streamBaseState instanceof Int32Array) || typeof kLastWriteWasAsync !== 'number') return undefined
    return { WriteWrap, streamBaseState, kLastWriteWasAsync, Tcp }
  } catch {
    // Deprecated, and refused under Node's permission model.
    return undefined
  }
}

function isTcpHandle(handle: unknown, { Tcp }: Binding): handle is TcpHandle {
  if (typeof handle !== 'object' || handle === null || handle.constructor !== Tcp) return false
  return 'writeBuffer' in handle && typeof handle.writeBuffer === 'function'
}
