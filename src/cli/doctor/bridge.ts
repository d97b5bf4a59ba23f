import { randomUUID } from 'node:crypto'
import type { Config } from '../../config/config.ts'
import { signLogin } from '../development-login.ts'
import { type Finding, ok, problem, reasonOf, skipped } from './finding.ts'
import { Line } from './line.ts'
import { checkClock } from './machine.ts'

const timeoutMs = 5000
/** So many requests must find the same process. */
const stickyTries = 8

export interface Addresses {
  /** As browsers reach it. */
  readonly publicUrl: string
  readonly privateUrl: string
  readonly apiKey?: string
}

/** Whether a bridge runs, is ready, and has the same clock. Undefined: none runs. */
export async function checkReady({ privateUrl }: Addresses, toleranceMs: number): Promise<readonly (readonly [string, Finding])[] | undefined> {
  const sent = Date.now()
  let response: Response
  try {
    response = await fetch(new URL('/readyz', privateUrl), { signal: AbortSignal.timeout(timeoutMs) })
  } catch {
    return undefined
  }
  const clock = checkClock('the bridge', response.headers.get('date'), { sent, received: Date.now() }, toleranceMs)
  const body = await response.text()
  const ready = response.ok
    ? ok(`ready at ${privateUrl}`)
    : problem(`not ready (status ${response.status}): ${body.slice(0, 500)}`, 'what is failing says why; its log says more')
  return [
    ['bridge', ready],
    ['clock', clock],
  ]
}

/** What pages may connect: those that are configured, and no others. */
export async function checkOrigins({ publicUrl }: Addresses, origins: readonly string[]): Promise<readonly Finding[]> {
  if (origins.length === 0)
    return [
      problem(
        'no page may connect',
        'set SIDECAST_ALLOWED_ORIGINS to the addresses of your pages, or give the one to try: --origin https://shop.example.com',
      ),
    ]
  const tries = origins.map(async (origin) => {
    const status = await openPolling(publicUrl, origin)
    if (status === 200) return ok(`pages of ${origin} may connect`)
    return problem(
      `pages of ${origin} are refused (${status})`,
      `write it into SIDECAST_ALLOWED_ORIGINS of the bridge exactly so, and let the proxy pass Origin and the path /socket.io/`,
    )
  })
  const foreign = 'https://doctor.invalid'
  const status = await openPolling(publicUrl, foreign)
  const others =
    status === 200
      ? problem(`pages of ${foreign} may connect too`, 'a proxy in front rewrites or removes Origin: let it pass as it is')
      : ok('others are refused')
  return [...(await Promise.all(tries)), others]
}

async function openPolling(publicUrl: string, origin: string): Promise<number | string> {
  try {
    return (await fetch(pollingUrl(publicUrl), { headers: { origin }, signal: AbortSignal.timeout(timeoutMs) })).status
  } catch (error) {
    return reasonOf(error)
  }
}

function pollingUrl(publicUrl: string, sid?: string): URL {
  const url = new URL('socket.io/?EIO=4&transport=polling', publicUrl.replace(/\/?$/, '/'))
  if (sid !== undefined) url.searchParams.set('sid', sid)
  return url
}

/** Whether the requests of one long-polling connection reach one process, each over a connection of its own. */
export async function checkSticky({ publicUrl }: Addresses): Promise<Finding> {
  try {
    const opened = await (await fetch(pollingUrl(publicUrl), { signal: AbortSignal.timeout(timeoutMs) })).text()
    const [, sid] = /"sid":"([\w.-]+)"/.exec(opened) ?? []
    if (sid === undefined)
      return problem(`no connection by long-polling: ${opened.slice(0, 200)}`, 'let the proxy pass /socket.io/ with its query to the public listener')
    for (let attempt = 0; attempt < stickyTries; attempt++) {
      // A pong: it says nothing and is answered.
      const response = await fetch(pollingUrl(publicUrl, sid), {
        method: 'POST',
        body: '3',
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(timeoutMs),
      })
      if (response.status !== 200)
        return problem(
          `request ${attempt + 1} of one connection was answered ${response.status} ${(await response.text()).slice(0, 100)}: it reached another process`,
          'let the load balancer keep a client at one node (ip_hash, a cookie), or leave long-polling out: SIDECAST_TRANSPORTS=websocket',
        )
    }
    return ok(`${stickyTries} requests of one long-polling connection reached one process`)
  } catch (error) {
    return problem(`${publicUrl}: ${reasonOf(error)}`, 'give the address at which browsers reach the bridge: --url https://push.example.com')
  }
}

/** A login that connects, and an event that is published for it and arrives. */
export async function checkCanary({ publicUrl, privateUrl, apiKey }: Addresses, { jwt, gateway }: Config): Promise<readonly Finding[]> {
  if (jwt.signing === undefined)
    return [skipped('no secret is configured to sign a login with: take one of your application and ask sidecast verify-token')]
  const user = `sidecast-doctor-${randomUUID()}`
  const { maxLifeMs = 60_000 } = jwt.signing.issuer
  const token = signLogin(jwt.signing, { user, rooms: [], lifeMs: Math.min(60_000, maxLifeMs) })
  let line: Line
  try {
    line = await Line.open(publicUrl, token, gateway.allowedOrigins[0], timeoutMs)
  } catch (error) {
    return [
      problem(
        `no session over WebSocket at ${publicUrl}: ${reasonOf(error)}`,
        'does the bridge have this configuration, and does the proxy pass Upgrade and Connection (proxy_http_version 1.1)?',
      ),
    ]
  }
  try {
    const connected = ok('a login connects over WebSocket')
    if (apiKey === undefined)
      return [connected, skipped('nothing is published: that needs a private listener that answers, and a key (--api-key or SIDECAST_API_KEY)')]
    const response = await fetch(new URL('/v1/events', privateUrl), {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ event: 'doctor.canary', to: { users: [user] } }),
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    if (response.status !== 202)
      return [
        connected,
        problem(
          `publishing is refused (${response.status}): ${(await response.text()).slice(0, 300)}`,
          'give a key of SIDECAST_API_KEYS with the scope publish, alone, without its name',
        ),
      ]
    await line.until((packet) => packet.startsWith('42["doctor.canary"'), timeoutMs)
    return [connected, ok('an event that is published reaches it')]
  } catch (error) {
    return [problem(`the event did not arrive: ${reasonOf(error)}`, 'do --url and --private-url lead to the same bridge?')]
  } finally {
    line.close()
  }
}
