import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { login, startTestBridge, type TestBridge } from '../support/bridge.ts'
import { stopClock, type TestClock } from '../support/clock.ts'
import { type Chromium, startChromium } from './chromium.ts'

/** How long the tokens of the application are good. */
const tokenSeconds = 20
/** How much of that passes with each event: so a machine that is slow is as slow for the time. */
const stepMs = 200

let browser: Chromium
beforeAll(async () => {
  browser = await startChromium()
})
afterAll(() => browser?.[Symbol.asyncDispose]())

/** An application with a page and a place where the page gets its tokens. */
async function startApplication(script: string) {
  let bridge = ''
  let tokens = 0
  const server = createServer((request, response) => {
    if (request.url === '/token') {
      tokens++
      const token = login('42', { exp: Date.now() / 1000 + tokenSeconds, rooms: ['news'] })
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify({ token }))
      return
    }
    const page = `<!doctype html><title>page</title><script src="${bridge}/socket.io/socket.io.js"></script><script type="module">${script.replace('BRIDGE', bridge)}</script>`
    response.writeHead(200, { 'content-type': 'text/html' }).end(page)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    serve: (publicUrl: string) => {
      bridge = publicUrl
    },
    tokens: () => tokens,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

const watched = `
  window.seen = { numbers: [], refreshes: [], ends: [], disconnects: 0, ready: [] }
  const freshToken = async () => (await (await fetch('/token')).json()).token
  const watch = (socket) => {
    window.socket = socket
    socket.on('n', (number) => seen.numbers.push(number))
    socket.on('disconnect', () => seen.disconnects++)
    socket.on('sidecast:ready', ({ recovered }) => seen.ready.push(recovered))
    socket.on('sidecast:disconnect', ({ code }) => seen.ends.push(code))
  }
`

interface Seen {
  readonly numbers: readonly number[]
  readonly refreshes: readonly { readonly ok: boolean }[]
  readonly ends: readonly string[]
  readonly disconnects: number
  readonly ready: readonly boolean[]
}

/** Opens the page and publishes to its user all along, until the page has seen what is waited for; then until it has seen all. */
async function play(
  bridge: TestBridge,
  clock: TestClock,
  url: string,
  holds: (seen: Seen) => boolean,
): Promise<Seen & { readonly published: number }> {
  const page = await browser.context.newPage()
  try {
    await page.goto(url)
    const look = async (): Promise<Seen> => JSON.parse(await page.evaluate('JSON.stringify(seen)'))
    await expect.poll(async () => (await look()).ready.length).toBe(1)
    let published = 0
    while (!holds(await look())) {
      await bridge.publish({ event: 'n', data: published++, to: { rooms: ['news'] } })
      clock.pass(stepMs)
    }
    await expect.poll(async () => (await look()).numbers.length).toBe(published)
    return { ...(await look()), published }
  } finally {
    await page.close()
  }
}

const all = (published: number) => Array.from({ length: published }, (_, number) => number)

test('a page that refreshes its token stays connected, and gets everything, once, in order', async () => {
  using clock = stopClock()
  await using application = await startApplication(`${watched}
    const socket = io('BRIDGE', { auth: (send) => { freshToken().then((token) => send({ token })) } })
    watch(socket)
    socket.on('sidecast:expiring', async () => {
      seen.refreshes.push(await socket.emitWithAck('sidecast:refresh', { token: await freshToken() }))
    })
  `)
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s', ALLOWED_ORIGINS: application.url })
  application.serve(bridge.publicUrl)
  const seen = await play(bridge, clock, application.url, ({ refreshes }) => refreshes.length >= 3)
  expect(seen.numbers).toEqual(all(seen.published))
  expect(seen).toMatchObject({ disconnects: 0, ends: [], ready: [false] })
  expect(seen.refreshes.every(({ ok }) => ok)).toBe(true)
  expect(application.tokens()).toBe(1 + seen.refreshes.length)
})

test('a page that only asks for a token when it connects is closed at the end of each, comes back, and misses nothing', async () => {
  using clock = stopClock()
  await using application = await startApplication(`${watched}
    watch(io('BRIDGE', { auth: (send) => { freshToken().then((token) => send({ token })) } }))
  `)
  await using bridge = await startTestBridge({ JWT_CLOCK_TOLERANCE: '0s', ALLOWED_ORIGINS: application.url })
  application.serve(bridge.publicUrl)
  const seen = await play(bridge, clock, application.url, ({ ready }) => ready.length >= 3)
  expect(seen.numbers).toEqual(all(seen.published))
  expect(new Set(seen.ends)).toEqual(new Set(['token_expired']))
  expect(seen.ready).toEqual([false, ...seen.ready.slice(1).map(() => true)])
  expect(application.tokens()).toBe(seen.ready.length)
})
