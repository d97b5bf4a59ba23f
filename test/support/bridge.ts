import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import jwt from 'jsonwebtoken'
import { pino } from 'pino'
import { afterEach, expect } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge.ts'
import { loadConfig } from '../../src/config/config.ts'

/** A secret made for this run of the tests. */
export const secret = randomBytes(48).toString('base64url')
export const apiKey = randomBytes(32).toString('base64url')

export interface TestBridge extends Bridge {
  /** Calls the private listener with the test's API key; the body is sent as JSON. */
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ readonly status: number; readonly body: Answer }>
  /** Publishes and expects it to be accepted. */
  publish(event: Readonly<Record<string, unknown>>): Promise<Answer>
  readonly directory: string
  [Symbol.asyncDispose](): Promise<void>
}

/** What the ingress answers, as far as tests look at it. */
interface Answer {
  readonly id?: string
  readonly offset?: string
  readonly duplicate?: boolean
  readonly matched?: number
  readonly code?: string
  readonly errors?: readonly { readonly pointer: string; readonly detail: string }[]
  readonly [field: string]: unknown
}

const open = new Set<string>()
afterEach(() => {
  const leaked = [...open]
  open.clear()
  expect(leaked, 'bridges that the test did not stop').toEqual([])
})

/** The environment of a bridge on free ports with its own data; what `settings` says (without SIDECAST_) wins, and an empty text leaves a default out. */
export function testEnvironment(directory: string, settings: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const defaults = {
    PUBLIC_HOST: '127.0.0.1',
    PUBLIC_PORT: '0',
    PRIVATE_PORT: '0',
    JWT_SECRET: secret,
    API_KEYS: `test:${apiKey}:publish+read+admin`,
    DATA_DIR: directory,
    DRAIN_PERIOD: '0ms',
    LOG_LEVEL: 'fatal',
  }
  const given = Object.entries({ ...defaults, ...settings }).filter(([, value]) => value !== '')
  return Object.fromEntries(given.map(([name, value]) => [`SIDECAST_${name}`, value]))
}

/** A bridge in this process, disposed of by the test (`await using`). With `directory` it goes on with that data. */
export async function startTestBridge(settings: Readonly<Record<string, string>> = {}, directory?: string): Promise<TestBridge> {
  const data = directory ?? (await mkdtemp(join(tmpdir(), 'sidecast-test-')))
  const config = loadConfig({ args: [], env: testEnvironment(data, settings), cwd: data })
  const bridge = await startBridge(config, pino({ level: config.logLevel }))
  open.add(bridge.privateUrl)
  const call: TestBridge['call'] = (method, path, body, headers) => callIngress(bridge.privateUrl, method, path, body, headers)
  return {
    ...bridge,
    directory: data,
    call,
    publish: async (event) => {
      const answer = await call('POST', '/v1/events', event)
      expect(answer, JSON.stringify(answer.body)).toMatchObject({ status: 202 })
      return answer.body
    },
    async [Symbol.asyncDispose]() {
      await bridge.stop()
      open.delete(bridge.privateUrl)
      if (directory === undefined) await rm(data, { recursive: true })
    },
  }
}

export async function callIngress(url: string, method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}) {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, body: (text === '' ? {} : JSON.parse(text)) as Answer }
}

/** A login token as an application would issue it; it is good for an hour unless `exp` says otherwise. */
export function login(user: string, claims: Readonly<Record<string, unknown>> = {}): string {
  return jwt.sign({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600, ...claims }, secret)
}
