import { setTimeout } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

/** Long enough to see whether somebody hammers: the stock client waits for 5 s at the most before it tries again. */
const watchedMs = 15_000

// The most common mistake: the token is written into the page, and nobody asks for another.
test('a stock client with one token for ever is told of its end once, and stays away', async () => {
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s' })
  const watch = async (transport: 'websocket' | 'polling') => {
    await using proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(bridge.publicUrl).port) })
    const socket = io(`http://127.0.0.1:${proxy.port}`, { auth: { token: login('42', { exp: Date.now() / 1000 + 3 }) }, transports: [transport] })
    const told: string[] = []
    let attempts = 0
    socket.on('sidecast:disconnect', ({ code }) => told.push(`disconnect ${code}`))
    socket.on('connect_error', (error) => told.push(`refused ${'data' in error ? Object(error.data).code : error.message}`))
    socket.io.on('reconnect_attempt', () => attempts++)
    await setTimeout(watchedMs)
    const { active } = socket
    socket.disconnect()
    return { told, attempts, active, connections: proxy.accepted }
  }
  const outcomes = await Promise.all([watch('websocket'), watch('polling')])
  console.log(`in ${watchedMs / 1000} s`, outcomes)
  for (const { told, attempts, active, connections } of outcomes) {
    expect(told).toEqual(['disconnect token_expired', 'refused token_expired'])
    expect(attempts).toBe(1)
    expect(active).toBe(false)
    // Long-polling may take one for each request.
    expect(connections).toBeLessThanOrEqual(12)
  }
})
