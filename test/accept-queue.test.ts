import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { newFolder } from './log/folders.ts'
import { BridgeProcess } from './support/bridge-process.ts'

test('thousands can connect while the process is busy with something else', async () => {
  const crowd = Math.min(2000, Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')))
  expect(crowd, 'net.core.somaxconn of this machine').toBeGreaterThan(1000)
  await using bridge = new BridgeProcess({ PUBLIC_PORT: '0', PRIVATE_PORT: '0' }, { directory: newFolder() })
  const { publicUrl } = await bridge.ready()
  bridge.signal('SIGSTOP')
  const sockets = Array.from({ length: crowd }, () => connect(Number(new URL(publicUrl).port), '127.0.0.1'))
  for (const socket of sockets) socket.on('error', () => undefined)
  // Whoever finds no room hears nothing for a second at least, and in the end only if the process goes on.
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  for (const socket of sockets) socket.destroy()
})
