import { readFile } from 'node:fs/promises'
import { io, type Socket } from 'socket.io-client'
import { expect, test } from 'vitest'
import { login, startTestBridge } from './support/bridge.ts'

const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
/** What the README puts into a page, as it stands. */
const [, script = ''] = /<script>\n([\s\S]*?)<\/script>/.exec(readme) ?? []

/** What a page has besides: where its login token is, and what it does about it. */
interface Page {
  readonly currentLoginToken: () => string
  readonly renewLoginToken: () => Promise<boolean>
  readonly showLogin: (code: string) => void
  readonly loadEverything: () => void
  readonly render: (data: unknown) => void
}

function open(publicUrl: string, page: Page): Socket {
  const atOnce = script.replace('https://push.example.com', publicUrl).replace('5000', '10')
  const names = ['io', 'currentLoginToken', 'renewLoginToken', 'showLogin', 'loadEverything', 'render'] as const
  const given = { io, ...page }
  return new Function(...names, `${atOnce}; return socket`)(...names.map((name) => given[name]))
}

const expired = (): string => login('42', { exp: 1000 })

test('the page of the README comes back with a fresh token when its own has expired', async () => {
  await using bridge = await startTestBridge()
  const rendered = Promise.withResolvers<unknown>()
  const ready = Promise.withResolvers<void>()
  let token = expired()
  const socket = open(bridge.publicUrl, {
    currentLoginToken: () => token,
    renewLoginToken: async () => {
      token = login('42')
      return true
    },
    showLogin: (code) => rendered.reject(new Error(code)),
    loadEverything: ready.resolve,
    render: rendered.resolve,
  })
  await ready.promise
  await bridge.publish({ event: 'order.updated', data: { order: 7 }, to: { users: ['42'] } })
  expect(await rendered.promise).toEqual({ order: 7 })
  socket.disconnect()
})

test('it shows the login when there is no fresh token, once, and stays away', async () => {
  await using bridge = await startTestBridge()
  const shown = Promise.withResolvers<string>()
  let connects = 0
  const socket = open(bridge.publicUrl, {
    currentLoginToken: () => {
      connects++
      return expired()
    },
    renewLoginToken: async () => false,
    showLogin: shown.resolve,
    loadEverything() {},
    render() {},
  })
  expect(await shown.promise).toBe('token_expired')
  expect({ active: socket.active, connects }).toEqual({ active: false, connects: 1 })
})
