import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import jwt from 'jsonwebtoken'

export interface DemoServerOptions {
  /** Where the bridge listens, on this machine. */
  readonly publicPort: number
  readonly privatePort: number
  readonly jwtSecret: string
  readonly apiKey: string
}

const files: Readonly<Record<string, { readonly name: string; readonly type: string }>> = {
  '/': { name: 'index.html', type: 'text/html; charset=utf-8' },
  '/app.js': { name: 'app.js', type: 'text/javascript; charset=utf-8' },
  '/style.css': { name: 'style.css', type: 'text/css; charset=utf-8' },
}

/** A login token, as an application issues it: the user, the rooms, an end. `expired`: one that ended an hour ago. */
export function signLogin(secret: string, user: string, rooms: readonly string[], options: { readonly seconds: number; readonly expired?: boolean }) {
  const issuedAt = Math.floor(Date.now() / 1000) - (options.expired === true ? options.seconds + 3600 : 0)
  const expiresAt = issuedAt + options.seconds
  const token = jwt.sign({ sub: user, rooms, iat: issuedAt, exp: expiresAt }, secret, { algorithm: 'HS256' })
  return { token, expiresAt: expiresAt * 1000 }
}

/**
 * Plays the part of your PHP or Java application: it serves the page, logs people in (without a password), and publishes with its API key.
 * For this machine only: whoever reaches it can be anybody.
 */
export function createDemoServer(options: DemoServerOptions): Server {
  return createServer((request, response) => {
    answer(request, response, options).catch((error: unknown) => {
      send(response, 502, { code: 'demo_failed', title: 'The demo server could not do it', detail: String(error) })
    })
  })
}

async function answer(request: IncomingMessage, response: ServerResponse, options: DemoServerOptions): Promise<void> {
  // A foreign site may point its own name at 127.0.0.1 (DNS rebinding); then the Host is not ours.
  const host = /^(127\.0\.0\.1|localhost):\d+$/.exec(request.headers.host ?? '')?.[1]
  if (host === undefined) return send(response, 421, { code: 'wrong_host', title: 'This server answers to 127.0.0.1 and localhost only' })
  const path = new URL(request.url ?? '/', 'http://localhost').pathname
  const file = files[path]
  if ((request.method === 'GET' || request.method === 'HEAD') && file !== undefined)
    return sendFile(response, file, `http://${host}:${options.publicPort}`)
  if (request.method !== 'POST') return send(response, 404, { code: 'not_found', title: 'There is nothing at this address' })
  // A type that a form of a foreign page cannot send: its script would have to ask first, and is not answered.
  if (request.headers['content-type'] !== 'application/json') return send(response, 415, { code: 'not_json', title: 'Send application/json' })
  const body: unknown = await json(request)
  if (path === '/login') return sendLogin(response, body, options)
  if (path === '/publish') return forward(response, body, options)
  send(response, 404, { code: 'not_found', title: 'There is nothing at this address' })
}

/** In your application: where people log in today, after the password was right. */
function sendLogin(response: ServerResponse, body: unknown, { jwtSecret }: DemoServerOptions): void {
  const { user, rooms, expired } = body as { readonly user?: unknown; readonly rooms?: unknown; readonly expired?: unknown }
  if (typeof user !== 'string' || !Array.isArray(rooms)) send(response, 400, { code: 'invalid_login', title: 'Send a user and a list of rooms' })
  else send(response, 200, signLogin(jwtSecret, user, rooms.map(String), { seconds: 3600, expired: expired === true }))
}

/** In your application: wherever something happens that a user should see. The key stays on the server. */
async function forward(response: ServerResponse, body: unknown, { privatePort, apiKey }: DemoServerOptions): Promise<void> {
  const published = await fetch(`http://127.0.0.1:${privatePort}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(5000),
  })
  send(response, published.status, await published.json())
}

async function sendFile(response: ServerResponse, { name, type }: { readonly name: string; readonly type: string }, bridge: string): Promise<void> {
  const text = await readFile(new URL(`browser/${name}`, import.meta.url), 'utf8')
  const policy = [
    "default-src 'none'",
    `script-src 'self' ${bridge}`,
    "style-src 'self'",
    'img-src data:',
    `connect-src 'self' ${bridge} ${bridge.replace('http', 'ws')}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ]
  response.writeHead(200, {
    'content-type': type,
    'content-security-policy': policy.join('; '),
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  })
  response.end(text.replaceAll('http://127.0.0.1:3000', bridge))
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(body))
}
