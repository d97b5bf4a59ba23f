import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ecdsa, now, signJws } from './sign.ts'

/** A key of an issuer: what it publishes, and tokens that are signed with it. */
export interface TestKey {
  readonly jwk: Readonly<Record<string, unknown>>
  readonly privateKey: KeyObject
  sign(claims?: object, header?: object): string
}

/** A P-256 key that is made for the test. */
export function createKey(kid: string, also: object = {}): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256', ...also },
    privateKey,
    sign: (claims = {}, header = {}) => signJws({ alg: 'ES256', kid, ...header }, { sub: '42', exp: now + 3600, ...claims }, ecdsa(256, privateKey)),
  }
}

export interface TestIssuer {
  readonly url: string
  /** The paths that were asked for. */
  readonly requests: readonly string[]
  /** How it answers from now on. */
  answer: RequestListener
  /** From now on it answers with these keys. */
  publish(...keys: readonly TestKey[]): void
  /** Resolves when it has been asked so often. */
  asked(times: number): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export function json(body: unknown, status = 200): RequestListener {
  return (_, response) => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** Takes the request and says nothing, until it is told to. */
export function hanging(): { readonly listener: RequestListener; answer(listener: RequestListener): void } {
  const open: Parameters<RequestListener>[] = []
  return {
    listener: (...call) => void open.push(call),
    answer: (listener) => {
      for (const call of open.splice(0)) listener(...call)
    },
  }
}

/** Says a character at a time and never comes to the end. */
export function dripping(_: unknown, response: ServerResponse): void {
  const timer = setInterval(() => response.write(' '), 5)
  response.on('close', () => clearInterval(timer))
}

export async function startIssuer(...keys: readonly TestKey[]): Promise<TestIssuer> {
  const requests: string[] = []
  const waiting = new Set<() => void>()
  const issuer: Pick<TestIssuer, 'answer'> = { answer: json({ keys: keys.map(({ jwk }) => jwk) }) }
  const server = createServer((request, response) => {
    requests.push(request.url ?? '')
    issuer.answer(request, response)
    for (const check of [...waiting]) check()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return Object.assign(issuer, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    publish: (...published: readonly TestKey[]) => {
      issuer.answer = json({ keys: published.map(({ jwk }) => jwk) })
    },
    asked: (times: number) =>
      new Promise<void>((resolve) => {
        const check = (): void => {
          if (requests.length < times) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await once(server.close(), 'close')
    },
  })
}
