import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { writeWayOf } from '../../src/gateway/write-way.ts'
import { callIngress, login } from '../support/bridge.ts'
import { BridgeProcess } from '../support/bridge-process.ts'
import { connectSession } from '../support/client.ts'

const tested = { node: '24.1.0', engineIo: '6.6.1', ws: '8.23.4' }

test.each([
  [tested, 'kernel'],
  [{ ...tested, node: '22.18.0' }, 'stream'],
  [{ ...tested, node: '25.0.0' }, 'stream'],
  [{ ...tested, node: '240.0.0' }, 'stream'],
  [{ ...tested, engineIo: '6.7.0' }, 'engine'],
  [{ ...tested, engineIo: '6.60.0' }, 'engine'],
  [{ ...tested, engineIo: '16.6.0' }, 'engine'],
  [{ ...tested, ws: '8.24.0' }, 'engine'],
  [{ ...tested, ws: '9.23.0' }, 'engine'],
  [{ ...tested, ws: '8.22.9', node: '25.0.0' }, 'engine'],
  [{ ...tested, ws: undefined }, 'engine'],
  [{ ...tested, engineIo: undefined }, 'engine'],
] as const)('with %o frames are written by way of the %s', (versions, way) => {
  expect(writeWayOf(versions)).toBe(way)
})

// What Node says of itself, before anything of the bridge is loaded.
const pretend = (node: string): string => `--import=data:text/javascript,Object.defineProperty(process.versions,'node',{value:'${node}'})`

test.each([
  { node: process.versions.node, way: 'kernel' },
  { node: '99.0.0', way: 'stream' },
])('a bridge on Node $node says that frames are written by way of the $way, and they arrive', async ({ node, way }) => {
  const directory = await mkdtemp(join(tmpdir(), 'sidecast-way-'))
  try {
    await using bridge = new BridgeProcess({ LOG_LEVEL: 'debug' }, { directory, nodeOptions: [pretend(node)] })
    const { publicUrl, privateUrl } = await bridge.ready()
    expect(JSON.parse(await bridge.said('"writeWay"'))).toMatchObject({ writeWay: way, versions: { node } })
    await using session = connectSession(publicUrl, { token: login('7') })
    await session.notice('sidecast:ready')
    for (const n of [1, 2, 3])
      expect(await callIngress(privateUrl, 'POST', '/v1/events', { event: 'e', data: n, to: { users: ['7'] } })).toMatchObject({ status: 202 })
    await session.until(() => session.received.filter(({ event }) => event === 'e').length === 3)
  } finally {
    await rm(directory, { recursive: true })
  }
})
