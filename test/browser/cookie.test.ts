import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { login, startTestBridge } from '../support/bridge.ts'
import { type Chromium, startChromium } from './chromium.ts'

let browser: Chromium
beforeAll(async () => {
  browser = await startChromium()
})
afterAll(() => browser?.[Symbol.asyncDispose]())

/** A site whose login is a cookie that no script can read, set when the page is asked for with `?login`. */
async function startSite() {
  let bridge = ''
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://site')
    const login = searchParams.get('login')
    if (login !== null) response.setHeader('set-cookie', `jwt=${login}; HttpOnly; SameSite=Lax; Path=/`)
    response.writeHead(200, { 'content-type': 'text/html' }).end(`<!doctype html><title>page</title>
      <script src="${bridge}/socket.io/socket.io.js"></script>
      <script>
        const seen = { users: [], events: [], errors: 0, cookie: document.cookie }
        const socket = io('${bridge}', { transports: ['${searchParams.get('transport')}'], withCredentials: true })
        socket.on('sidecast:ready', ({ user }) => seen.users.push(user))
        socket.on('n', (number) => seen.events.push(number))
        socket.on('connect_error', () => seen.errors++)
      </script>`)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    serve: (publicUrl: string) => {
      bridge = publicUrl
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

test.each(['websocket', 'polling'])('the cookie of a page logs it in over %s, and is of no use to a page of another origin', async (transport) => {
  await using site = await startSite()
  // Of the same site as browsers see it, for a port makes no other: they send it the cookie of the first.
  await using other = await startSite()
  await using bridge = await startTestBridge({ TOKEN_SOURCES: 'cookie:jwt', ALLOWED_ORIGINS: site.url })
  for (const one of [site, other]) one.serve(bridge.publicUrl)
  const page = await browser.context.newPage()
  try {
    const look = async () => JSON.parse(await page.evaluate('JSON.stringify(seen)'))
    await page.goto(`${site.url}/?transport=${transport}&login=${login('42')}`)
    await expect.poll(async () => (await look()).users).toEqual(['42'])
    await bridge.publish({ event: 'n', data: 1, to: { users: ['42'] } })
    await expect.poll(async () => (await look()).events).toEqual([1])
    expect((await look()).cookie).toBe('')

    // The browser has it still; the page gets nowhere.
    await page.goto(`${other.url}/?transport=${transport}`)
    await expect.poll(async () => (await look()).errors).toBeGreaterThan(0)
    expect((await look()).users).toEqual([])
    await expect.poll(async () => (await bridge.call('GET', '/v1/users/42')).body.online).toBe(false)

    await page.goto(`${site.url}/?transport=${transport}`)
    await expect.poll(async () => (await look()).users).toEqual(['42'])
  } finally {
    await page.close()
    await browser.context.clearCookies()
  }
})
