import { fileURLToPath } from 'node:url'
import type { Locator, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Quickstart, startQuickstart } from '../examples/start-quickstart.ts'
import { type Chromium, startChromium } from './chromium.ts'

const sizes = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } } as const

let quickstart: Quickstart
let browser: Chromium
let page: Page

beforeAll(async () => {
  quickstart = await startQuickstart({ port: 14_000, demoPort: 19_080 })
  browser = await startChromium()
  page = browser.page
  page.setDefaultTimeout(60_000)
})

afterAll(async () => {
  await browser?.[Symbol.asyncDispose]()
  await quickstart?.[Symbol.asyncDispose]()
})

beforeEach(async () => {
  await page.setViewportSize(sizes.desktop)
  await page.goto(quickstart.page)
  await connected()
})

const status = (): Locator => page.getByRole('status', { name: 'Connection' })
const events = (): Locator => page.getByRole('log').locator('li:not(.notice)')
const button = (name: string): Locator => page.getByRole('button', { name, exact: true })
const says = (text: string): Promise<void> => page.getByText(text).waitFor()
const connected = (transport = 'websocket'): Promise<void> =>
  status()
    .filter({ hasText: `Connected${transport}` })
    .waitFor()

async function send(to: 'User' | 'Room' | 'All', name: string, event: string, data: unknown): Promise<void> {
  await page.getByRole('radio', { name: to, exact: true }).check()
  const form = page.locator('#send-form')
  if (to !== 'All') await form.getByRole('textbox', { name: to }).fill(name)
  await form.getByRole('textbox', { name: 'Event' }).fill(event)
  await form.getByRole('textbox', { name: 'Data' }).fill(JSON.stringify(data))
  await button('Send').click()
}

async function logIn(user: string, rooms: string): Promise<void> {
  const form = page.locator('#login-form')
  await form.getByRole('textbox', { name: 'User' }).fill(user)
  await form.getByRole('textbox', { name: 'Rooms in the token' }).fill(rooms)
  await button('Log in').click()
  await page.locator('#user').filter({ hasText: user }).waitFor()
  await connected()
}

async function screenshot(name: string, colors: 'light' | 'dark' = 'light'): Promise<void> {
  for (const [size, viewport] of Object.entries(sizes)) {
    await page.setViewportSize(viewport)
    await page.emulateMedia({ colorScheme: colors, reducedMotion: 'reduce' })
    await page.screenshot({ path: fileURLToPath(new URL(`../../test-artifacts/demo-${name}-${size}.png`, import.meta.url)), fullPage: true })
    // Nothing is wider than a phone.
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), `${name} on a ${size}`).toBe(true)
  }
  await page.setViewportSize(sizes.desktop)
  await page.emulateMedia({ colorScheme: 'light' })
}

describe('the demo page', () => {
  test('shows who is logged in, and an event when it arrives', async () => {
    expect(await page.locator('#user').textContent()).toBe('42')
    await send('User', '42', 'order.updated', { order: 7, status: 'shipped' })
    const event = events().first()
    await event.getByText('order.updated').waitFor()
    expect(await event.locator('pre').textContent()).toBe('{ "order": 7, "status": "shipped" }')
    expect(await event.locator('.offset').textContent()).toMatch(/^\S+-\d+$/)
    expect(await event.getByText('caught up').count()).toBe(0)
    await says('Stored, for 1 session.')
    await send('All', '', 'maintenance.planned', { at: '22:00', message: 'Back in five minutes' })
    await events().getByText('maintenance.planned').waitFor()
    await send('Room', 'news', 'article.published', {
      title: 'An ordered log between the ingresses and the sockets',
      tags: ['realtime', 'php', 'java'],
    })
    await events().getByText('article.published').waitFor()
    expect(await events().count()).toBe(3)
    await screenshot('received')
    await screenshot('received-dark', 'dark')
    await page.getByRole('checkbox', { name: 'notices' }).check()
    await page.getByText('What your page needs of this').click()
    await screenshot('details')
  })

  test('goes on over long-polling, in the same session', async () => {
    const session = await page.locator('#session').textContent()
    await page.getByRole('checkbox', { name: 'Long-polling only' }).check()
    await connected('polling')
    expect(await page.locator('#session').textContent()).toBe(session)
    await send('User', '42', 'order.updated', { order: 8 })
    await events().getByText('order.updated').waitFor()
    await page.getByRole('checkbox', { name: 'Long-polling only' }).uncheck()
    await connected('websocket')
    expect(await events().count()).toBe(1)
  })

  test('shows as caught up what was published while the connection was cut', async () => {
    await send('User', '42', 'before.cut', 1)
    await events().getByText('before.cut').waitFor()
    await button('Cut the connection').click()
    await status().filter({ hasText: 'Cut' }).waitFor()
    await send('User', '42', 'while.cut', { number: 1 })
    await says('Stored. Nobody it is for is connected')
    await send('Room', 'news', 'while.cut', { number: 2 })
    await says('Stored. Nobody it is for is connected')
    await screenshot('cut')
    await button('Reconnect').click()
    await connected()
    await events().filter({ hasText: '"number": 2' }).waitFor()
    await send('User', '42', 'after.cut', 2)
    await events().getByText('after.cut').waitFor()

    expect(await events().locator('.event-name').allTextContents()).toEqual(['after.cut', 'while.cut', 'while.cut', 'before.cut'])
    expect(await events().filter({ hasText: 'caught up' }).locator('.event-name').allTextContents()).toEqual(['while.cut', 'while.cut'])
    expect(await page.locator('#recovered').textContent()).toContain('yes')
    await screenshot('caught-up')
  })

  test('joins a room that the token opens, is refused another, and leaves again', async () => {
    const rooms = page.getByRole('list', { name: 'Rooms of this session' })
    const room = page.locator('#room-form').getByRole('textbox', { name: 'Room' })
    await room.fill('order:7')
    await button('Join').click()
    await says('Joined order:7.')
    await rooms.getByText('order:7').waitFor()
    await send('Room', 'order:7', 'order.paid', { order: 7 })
    await events().getByText('order.paid').waitFor()

    await room.fill('payroll')
    await button('Join').click()
    await says('room_forbidden')
    await button('Leave order:7').click()
    await says('Left order:7.')
    expect(await rooms.locator('li').allTextContents()).toEqual(['news×', 'user:42×'])
  })

  test('refreshes its token without a reconnect', async () => {
    const session = await page.locator('#session').textContent()
    expect(await page.locator('#expires').textContent()).toMatch(/^in \d+ min$/)
    await button('Refresh the token').click()
    await page.locator('#expires').filter({ hasText: 'refreshed' }).waitFor()
    expect(await page.locator('#session').textContent()).toBe(session)
    expect(await status().textContent()).toContain('Connected')
    await screenshot('refreshed')
  })

  test('becomes another user, who does not get what is for the first', async () => {
    await logIn('43', 'vip')
    await send('User', '42', 'for.user.42', null)
    await says('Stored. Nobody it is for is connected')
    await send('User', '43', 'for.user.43', null)
    await events().getByText('for.user.43').waitFor()
    await logIn('42', 'news, order:*')
    await send('All', '', 'for.all', null)
    await events().getByText('for.all').waitFor()
    // What another user saw is gone from the page.
    expect(await events().locator('.event-name').allTextContents()).toEqual(['for.all'])
  })

  test('says why a login was refused, and recovers with a fresh token', async () => {
    const session = await page.locator('#session').textContent()
    await button('Use an expired token').click()
    const refusal = page.getByRole('alert')
    await refusal.getByText('token_expired').waitFor()
    expect(await refusal.textContent()).toContain('The login token has expired.')
    expect(await status().textContent()).toContain('Refusedtoken_expired')
    // There is no session that anything could be said about.
    expect(await page.locator('#session').textContent()).toBe('–')
    expect(await button('Join').isDisabled()).toBe(true)
    await send('User', '42', 'while.refused', null)
    await says('Stored. Nobody it is for is connected')
    await screenshot('refused')
    await button('Log in with a fresh token').click()
    await connected()
    await events().filter({ hasText: 'while.refused' }).getByText('caught up').waitFor()
    expect(await page.locator('#session').textContent()).toBe(session)
  })

  test('proposes a room that the login opens, for each who logs in', async () => {
    const name = page.locator('#send-name')
    await page.getByRole('radio', { name: 'Room', exact: true }).check()
    expect(await name.inputValue()).toBe('news')
    await logIn('43', 'team:*, vip')
    expect(await name.inputValue()).toBe('vip')
    await page.getByRole('radio', { name: 'User', exact: true }).check()
    expect(await name.inputValue()).toBe('43')
  })

  test('says that nothing has arrived only while nothing is shown, and something else when it was cleared', async () => {
    const empty = page.locator('#empty')
    expect(await empty.textContent()).toContain('Nothing has arrived yet.')
    await page.getByRole('checkbox', { name: 'notices' }).check()
    await page.getByRole('log').getByText('sidecast:ready').waitFor()
    expect(await empty.isVisible()).toBe(false)
    await button('Clear').click()
    expect(await empty.isVisible()).toBe(true)
    expect(await empty.textContent()).toContain('Cleared: what arrives from now on is shown here.')
  })

  test('says which room of a login is none, and where the reason of other refusals stands', async () => {
    const form = page.locator('#login-form')
    await form.getByRole('textbox', { name: 'Rooms in the token' }).fill('news, order*')
    await button('Log in').click()
    const refusal = page.getByRole('alert')
    await refusal.getByText('token_claims').waitFor()
    expect(await refusal.textContent()).toContain('"order*" is no room: * stands for a whole segment (order:*)')
    await form.getByRole('textbox', { name: 'Rooms in the token' }).fill('x'.repeat(300))
    await button('Log in').click()
    await refusal.getByText('bridge.log').waitFor()
    await logIn('42', 'news, order:*')
  })

  test('tells of what arrives while the events are out of sight, as on a phone', async () => {
    await page.setViewportSize(sizes.phone)
    const newest = page.locator('#newest')
    await button('Send').scrollIntoViewIfNeeded()
    await send('User', '42', 'order.updated', { order: 7 })
    await newest.filter({ hasText: '1 arrived, the newest: order.updated' }).waitFor()
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    const path = fileURLToPath(new URL('../../test-artifacts/demo-newest-phone.png', import.meta.url))
    await page.screenshot({ path })
    await newest.click()
    await newest.waitFor({ state: 'hidden' })
  })

  test('says why a token was not refreshed', async () => {
    await page.route('**/login', (route) => route.fulfill({ json: { token: 'no.token.either', expiresAt: 0 } }))
    await button('Refresh the token').click()
    await says('Not refreshed: The login token is not a well-formed JWT. (token_malformed)')
    await page.route('**/login', (route) => route.abort())
    await button('Refresh the token').click()
    await says('Not refreshed: the demo server did not answer.')
    await page.unroute('**/login')
    await button('Refresh the token').click()
    await page.locator('#expires').filter({ hasText: 'refreshed' }).waitFor()
  })

  test('takes what an event holds for text, never for HTML', async () => {
    await send('User', '42', 'order.updated', { html: '<img src=x onerror="document.title=1">' })
    await events().filter({ hasText: '<img src=x' }).waitFor()
    expect(await page.locator('#events img').count()).toBe(0)
  })

  test('breaks no rule of its security policy and throws nothing', () => {
    expect(browser.complaints).toEqual([])
  })
})
