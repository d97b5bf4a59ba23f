import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket as TcpSocket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { Server } from 'socket.io'
import { expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { Pressure } from '../../src/core/pressure.ts'
import type { Engine } from '../../src/gateway/engine.ts'
import { encodeFrame, type Frame } from '../../src/gateway/frame.ts'
import { type TcpHandle, tcpHandleOf } from '../../src/gateway/kernel-write.ts'
import { Line } from '../../src/gateway/line.ts'
import { Outbox } from '../../src/gateway/outbox.ts'
import { Tick } from '../../src/gateway/tick.ts'
import { findWriteWay, type WriteWay } from '../../src/gateway/write-way.ts'
import { createRandom } from '../support/random.ts'
import { WireClient } from './wire-client.ts'

/** Several clients at a Socket.IO server, and the engines under them. */
async function startLines(count: number, prepare: (engine: Engine) => void = () => undefined, writeWay: WriteWay = 'kernel') {
  const server = createServer()
  const io = new Server(server, { transports: ['websocket'], perMessageDeflate: false, wsEngine: WebSocketServer })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const tick = new Tick()
  const pressure = new Pressure({ maxBytes: 1e12, maxLagMs: 60_000, now: () => performance.now() })
  const broken: Outbox[] = []
  const lines: { readonly client: WireClient; readonly engine: Engine; readonly outbox: Outbox }[] = []
  for (let index = 0; index < count; index++) {
    const connected = once(io.engine, 'connection')
    const client = new WireClient(`http://127.0.0.1:${port}`)
    const [engine]: Engine[] = await connected
    if (engine === undefined) throw new Error('no connection')
    prepare(engine)
    const outbox: Outbox = new Outbox(
      engine,
      { stalled: () => undefined, broken: () => void broken.push(outbox) },
      { tick, pressure, maxBufferBytes: 1e9, writeWay },
    )
    await client.until(() => client.texts.length > 0)
    client.texts.length = 0
    lines.push({ client, engine, outbox })
  }
  return {
    lines,
    broken,
    async [Symbol.asyncDispose]() {
      for (const { client } of lines) await client[Symbol.asyncDispose]()
      await io.close()
    },
  }
}

function tcpUnder(engine: Engine): TcpSocket {
  const tcp = Line.under(engine, 'stream')?.tcp
  if (tcp === undefined) throw new Error('no line')
  return tcp
}

function handleUnder(engine: Engine): TcpHandle {
  const handle = tcpHandleOf(tcpUnder(engine))
  if (handle === undefined) throw new Error('no handle')
  return handle
}

const frame = (name: string): Frame => encodeFrame('n', JSON.stringify(name), '0')
const one = (name: string): readonly Frame[] => [frame(name)]
const textOf = (name: string): string => `42["n","${name}","0"]`

test('the shortest way is taken with the versions that are installed, and what it relies on is there', async () => {
  const cure =
    'read src/gateway/line.ts and engine.ts against the new engine.io or ws, and kernel-write.ts against lib/internal/stream_base_commons.js of the new Node, then change the versions in write-way.ts'
  expect(findWriteWay(), cure).toMatchObject({ writeWay: 'kernel' })
  await using started = await startLines(1)
  const [line] = started.lines
  expect(line && Line.under(line.engine, 'kernel')?.free, `what is written past Engine.IO relies on a field that is gone: ${cure}`).toBe(true)
  expect(line && tcpHandleOf(tcpUnder(line.engine)), `what is written past the stream relies on a part that is gone: ${cure}`).toBeDefined()
})

test('what the kernel does not take at once is counted, and comes before what follows it', async () => {
  await using started = await startLines(1)
  const [line] = started.lines
  if (line === undefined) return
  const { client, engine, outbox } = line
  const tcp = tcpUnder(engine)
  const expected: string[] = []
  const send = (name: string): void => {
    outbox.send(one(name))
    outbox.flush()
    expected.push(textOf(name))
  }
  client.tcp.pause()
  // Twice: what the first made of the connection must hold for the second.
  for (let round = 0; round < 2; round++) {
    // The kernel's buffers end somewhere.
    for (let size = 0; tcp.writableLength === 0 && size < 1000; size++) send(`${size}${'x'.repeat(100_000)}`)
    const cutAt = tcp.writableLength
    expect(cutAt).toBeGreaterThan(100_000)
    expect(outbox.waitingBytes).toBe(cutAt)
    send('behind it')
    engine.write('3behind that')
    expected.push('43behind that')
    expect(tcp.writableLength).toBeGreaterThan(cutAt)
    const room = outbox.room()
    expect(room).toBeDefined()
    client.tcp.resume()
    await room
    await client.until(() => client.texts.length === expected.length)
    expect(outbox.waitingBytes).toBe(0)
    client.tcp.pause()
  }
  client.tcp.resume()
  send('last')
  engine.close()
  await client.until(() => client.isClosed)
  expect(client.texts).toEqual(expected)
  expect(started.broken).toEqual([])
})

test('a connection that is closed while the kernel has not taken all ends like any other', async () => {
  await using started = await startLines(2)
  for (const [index, { client, engine, outbox }] of started.lines.entries()) {
    const tcp = tcpUnder(engine)
    client.tcp.pause()
    for (let size = 0; tcp.writableLength === 0 && size < 1000; size++) {
      outbox.send(one('x'.repeat(100_000)))
      outbox.flush()
    }
    const ended = once(engine, 'close')
    if (index === 0) client.tcp.resetAndDestroy()
    else tcp.destroy()
    await ended
    expect(tcp.destroyed).toBe(true)
    outbox.send(one('too late'))
    outbox.flush()
    expect(outbox.waitingBytes).toBe(0)
  }
})

test("a connection's own clock knows what the kernel did not take at once, and so sees it move", async () => {
  await using started = await startLines(1)
  const [line] = started.lines
  if (line === undefined) return
  const tcp = tcpUnder(line.engine)
  line.client.tcp.pause()
  for (let size = 0; tcp.writableLength === 0 && size < 1000; size++) {
    line.outbox.send(one('x'.repeat(100_000)))
    line.outbox.flush()
  }
  const field = Object.getOwnPropertySymbols(tcp).find(({ description }) => description === 'lastWriteQueueSize')
  expect(field && Reflect.get(tcp, field)).toBe(tcp.writableLength)
})

test('where a field is missing everything goes through Engine.IO, in order', async () => {
  await using started = await startLines(1, (engine) => Reflect.deleteProperty(engine, 'upgrading'))
  const [line] = started.lines
  if (line === undefined) return
  expect(Line.under(line.engine, 'kernel')).toBeUndefined()
  let packets = 0
  line.engine.on('packetCreate', () => packets++)
  const names = Array.from({ length: 20 }, (_, index) => `${index}`)
  for (const name of names) line.outbox.send(one(name))
  await line.client.until(() => line.client.texts.length === names.length)
  expect(line.client.texts).toEqual(names.map(textOf))
  expect(packets).toBe(names.length)
})

test('frames of one tick are one write, and sessions that get the same list share its bytes', async () => {
  await using started = await startLines(3)
  const written = started.lines.map(({ engine }) => {
    const handle = handleUnder(engine)
    const chunks: Buffer[] = []
    const write = handle.writeBuffer.bind(handle)
    handle.writeBuffer = (request, chunk) => {
      chunks.push(chunk)
      return write(request, chunk)
    }
    return chunks
  })
  const [first, second, third] = [one('1'), [frame('2'), frame('3')], one('4')]
  for (const { outbox } of started.lines) outbox.send(first)
  for (const { outbox } of started.lines.slice(0, 2)) outbox.send(second)
  for (const { outbox } of started.lines) outbox.send(third)
  expect(written.map(({ length }) => length)).toEqual([0, 0, 0])
  await Promise.resolve()
  expect(written.map(({ length }) => length)).toEqual([1, 1, 1])
  expect(written[0]?.[0]).toBe(written[1]?.[0])
  const texts = started.lines.map(({ client }) => client.until(() => client.texts.includes(textOf('4'))).then(() => client.texts))
  const all = ['1', '2', '3', '4'].map(textOf)
  expect(await Promise.all(texts)).toEqual([all, all, [textOf('1'), textOf('4')]])
})

const random = createRandom()

test.each([
  { way: 'kernel', writes: 0, packets: 0 },
  { way: 'stream', writes: 1, packets: 0 },
  { way: 'engine', writes: 1, packets: 1 },
] as const)('a frame goes the way that is chosen: $way', async ({ way, ...expected }) => {
  await using started = await startLines(1, undefined, way)
  const [line] = started.lines
  if (line === undefined) return
  const tcp = tcpUnder(line.engine)
  const counted = { writes: 0, packets: 0 }
  line.engine.on('packetCreate', () => counted.packets++)
  const write = tcp.write
  tcp.write = (...args: readonly unknown[]) => {
    counted.writes++
    return Reflect.apply(write, tcp, args)
  }
  line.outbox.send(one('1'))
  line.outbox.flush()
  await line.client.until(() => line.client.texts.length === 1)
  expect(line.client.texts).toEqual([textOf('1')])
  expect(counted).toEqual(expected)
})

test.each([{ way: 'kernel' }, { way: 'stream' }, { way: 'engine' }] as const)(
  `whatever writes, the order is that of the writes, by way of the $way (SIDECAST_TEST_SEED=${random.seed})`,
  async ({ way }) => {
    await using started = await startLines(4, undefined, way)
    const expected = started.lines.map((): string[] => [])
    const pongs = started.lines.map(() => 0)
    let count = 0
    const paddings = [0, 0, 10, 60, 200, 70_000]
    for (let turn = 0; turn < 400; turn++) {
      for (let step = random.between(1, 12); step > 0; step--) {
        const name = `${count++}${random.chance(0.1) ? 'é€😀'.repeat(random.between(1, 30)) : ''}${'x'.repeat(random.pick(paddings))}`
        // Some events come in a row.
        const names = [name, ...Array.from({ length: random.pick([0, 0, 1, 4]) }, () => `${count++}`)]
        const shared = names.map(frame)
        const chance = random.pick([0.2, 0.8, 1])
        const kind = random.between(0, 9)
        for (const [index, { client, engine, outbox }] of started.lines.entries()) {
          if (!random.chance(chance)) continue
          if (kind < 6) outbox.send(shared)
          else if (kind < 8) for (const { packet } of shared) engine.write(packet)
          else if (kind === 8) {
            client.send('ping', 9)
            pongs[index] = (pongs[index] ?? 0) + 1
          } else if (client.tcp.isPaused()) client.tcp.resume()
          else client.tcp.pause()
          if (kind < 8) expected[index]?.push(...names.map(textOf))
        }
      }
      if (random.chance(0.7)) await setImmediate()
      else if (random.chance(0.5)) await Promise.resolve()
    }
    for (const [index, { client, engine, outbox }] of started.lines.entries()) {
      client.tcp.resume()
      outbox.send(one('last'))
      expected[index]?.push(textOf('last'))
      outbox.flush()
      engine.close()
      outbox.send(one('too late'))
    }
    for (const [index, { client }] of started.lines.entries()) {
      await client.until(() => client.isClosed)
      expect(client.texts).toEqual(expected[index])
      expect(client.pongs).toBeLessThanOrEqual(pongs[index] ?? 0)
    }
    expect(started.broken).toEqual([])
  },
)
