import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, test } from 'vitest'
import { methods, type OpenapiDocument, resolve } from '../../src/http/openapi-document.ts'
import { signRequest } from './sign-request.ts'
import { fullKey, keyOf, openapi, openapiText, startIngress } from './start-ingress.ts'

const document = openapi as OpenapiDocument
const ajv = new Ajv2020({ strict: false, allErrors: true }).addSchema(openapi, 'openapi')

/** Every answer that openapi.yaml promises, as `method path status`. */
const documented = Object.entries(document.paths).flatMap(([path, item]) =>
  methods.flatMap((method) => Object.keys(item[method]?.responses ?? {}).map((status) => `${method} ${path} ${status}`)),
)

interface Call {
  readonly method: (typeof methods)[number]
  readonly path: string
  readonly url?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Makes calls, and holds every answer to what openapi.yaml says about it. */
class ContractClient {
  readonly seen = new Set<string>()

  async call(base: string, { method, path, url, body, headers = {} }: Call): Promise<number> {
    const filled = path.replace('{user}', '7').replace('{room}', 'r').replace('{session}', 's').replace('{revocation}', 'AAAAAAAAAAAAAAAA')
    const response = await fetch(`${base}${url ?? filled}`, {
      method: method.toUpperCase(),
      headers: { authorization: `Bearer ${fullKey}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body }),
    })
    return this.answered({ method, path }, response)
  }

  /** Holds an answer that somebody else has asked for to the same. */
  async answered({ method, path }: Call, response: Response): Promise<number> {
    const answer = `${method} ${path} ${response.status}`
    this.seen.add(answer)
    const reference = document.paths[path]?.[method]?.responses[response.status]
    expect(reference, `${answer} is not documented`).toBeDefined()
    if (reference !== undefined) await this.#check(answer, response, resolve(document, reference).content, method === 'head')
    return response.status
  }

  async #check(answer: string, response: Response, content: Readonly<Record<string, { readonly schema?: object }>> | undefined, isHead: boolean) {
    const text = await response.text()
    if (isHead) return
    const type = response.headers.get('content-type')?.split(';')[0] ?? 'none'
    const schema = content?.[type]?.schema
    expect(schema, `${answer} came as ${type}`).toBeDefined()
    if (schema === undefined || !type.endsWith('json')) return
    const lines = type === 'application/x-ndjson'
    const validate = ajv.compile(lines ? { $ref: 'openapi#/components/schemas/EventResult' } : rebase(schema))
    for (const part of lines ? text.trim().split('\n') : [text]) {
      validate(JSON.parse(part))
      expect(validate.errors, `${answer}: ${part}`).toBeNull()
    }
  }
}

const signingSecret = randomBytes(32)

/** One signed request, to be sent again and again. */
function signedCall(url: string, path: string): () => Promise<Response> {
  const body = '{}'
  const headers = { ...signRequest(signingSecret, body), 'content-type': 'application/json' }
  return () => fetch(`${url}${path}`, { method: 'POST', headers, body })
}

/** A schema whose references lead into the document. */
function rebase(schema: object): object {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/'))
}

test('openapi.yaml is valid OpenAPI 3.1', async () => {
  const result = await new Validator().validate(openapiText)
  expect(result.errors ?? []).toEqual([])
  expect(result.valid).toBe(true)
  expect(document.info.version).toBe(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version)
  // What an unquoted comma makes of a sentence, where any key is allowed.
  expect(JSON.stringify(openapi)).not.toContain(':null')
})

test('the examples of openapi.yaml are events that are taken', async () => {
  await using ingress = await startIngress()
  for (const path of ['/v1/events', '/v1/events/batch']) {
    for (const [type, { example }] of Object.entries(document.paths[path]?.post?.requestBody?.content ?? {})) {
      const body = typeof example === 'string' ? example : JSON.stringify(example)
      const { status, text } = await ingress.call('POST', path, { body, headers: { 'content-type': type } })
      expect({ status, refused: text.includes('"errors"') }).toEqual({ status: 202, refused: false })
    }
  }
})

test('every route is documented, and every documented operation is a route', async () => {
  await using ingress = await startIngress()
  const layers: readonly { readonly route?: { readonly path: string; readonly stack: readonly { readonly method?: string }[] } }[] =
    ingress.app.router.stack
  const routes = layers.flatMap(({ route }) => (route?.stack ?? []).flatMap(({ method }) => (method === undefined ? [] : `${method} ${route?.path}`)))
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    // HEAD comes with GET.
    methods.flatMap((method) => (item[method] === undefined || method === 'head' ? [] : `${method} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`)),
  )
  expect([...new Set(routes)].sort()).toEqual(operations.sort())
})

test('every documented answer is given, as it is documented', async () => {
  const client = new ContractClient()
  const event = '{"event":"a","data":{"n":1},"to":{"users":[7],"rooms":["r"],"sessions":["s"],"all":false},"id":"k"}'
  const events = { method: 'post', path: '/v1/events' } as const
  const batch = { method: 'post', path: '/v1/events/batch' } as const
  const revocations = { method: 'post', path: '/v1/revocations' } as const
  {
    await using ingress = await startIngress({
      bodyTimeoutMs: 3000,
      maxEventBytes: 5000,
      maxBatchBytes: 5000,
      signingKeys: [{ name: 'signer', scopes: ['publish', 'admin'], secret: signingSecret }],
    })
    const { url } = ingress
    ingress.attach('7', ['r'])
    for (const body of [event, event]) await client.call(url, { ...events, body })
    await client.call(url, { ...events, url: '/v1/events?dry_run=true', body: event })
    await client.call(url, { ...batch, body: `{"events":[${event},{"event":"b","to":{"all":true}},1,{"event":"c","to":{"all":true},"id":"k"}]}` })
    await client.call(url, { ...batch, body: `${event}\n1`, headers: { 'content-type': 'application/x-ndjson' } })
    for (const jti of ['a', 'b']) await client.call(url, { ...revocations, body: JSON.stringify({ user: 7, jti, sid: 's', issuedBefore: 1 }) })
    await client.call(url, { method: 'get', path: revocations.path, url: '/v1/revocations?limit=1' })
    await client.call(url, { method: 'get', path: revocations.path, url: '/v1/revocations?limit=0' })
    const { json } = await ingress.call('GET', revocations.path)
    const [{ id = '' } = {}] = json.revocations as readonly { readonly id?: string }[]
    await client.call(url, { method: 'delete', path: '/v1/revocations/{revocation}', url: `/v1/revocations/${id}` })
    for (const call of [events, batch, revocations]) {
      const signed = signedCall(url, call.path)
      await client.answered(call, await signed())
      await client.answered(call, await signed())
      await client.call(url, { ...call, body: '{' })
      await client.call(url, { ...call, body: '{}' })
      await client.call(url, { ...call, body: ' '.repeat(17_000) })
      await client.call(url, { ...call, body: event, headers: { 'content-type': 'text/plain' } })
      // A body that does not end: its promised length never comes.
      const raw = await ingress.raw()
      raw.socket.write(
        `POST ${call.path} HTTP/1.1\r\nhost: x\r\nx-api-key: ${fullKey}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{`,
      )
      expect(await raw.until(/\}$/)).toMatch(/^HTTP\/1\.1 408 .*application\/problem\+json/s)
      client.seen.add(`post ${call.path} 408`)
      raw.socket.destroy()
    }
    for (const [path, item] of Object.entries(document.paths)) {
      for (const method of methods) {
        const operation = item[method]
        if (operation === undefined) continue
        if (method !== 'post' || operation.requestBody === undefined) await client.call(url, { method, path })
        if (operation.responses['401'] === undefined || path === '/metrics') continue
        await client.call(url, { method, path, headers: { authorization: '' } })
        const scopes = operation.security?.flatMap(({ bearer = [] }) => bearer)
        const other = scopes?.includes('read') ? keyOf('admin') : keyOf('read')
        await client.call(url, { method, path, headers: { authorization: `Bearer ${other}` } })
        const bad = path.replaceAll(/\{\w+\}/g, '%E2%80%8B')
        if (bad !== path) await client.call(url, { method, path, url: bad })
      }
    }
    for (const path of ['/v1/users/{user}/events', '/v1/rooms/{room}/events'])
      await client.call(url, { method: 'get', path, url: `${path.replace('{user}', '7').replace('{room}', 'r')}?after=x-1` })

    ingress.drain()
    for (const [path, item] of Object.entries(document.paths)) {
      for (const method of methods)
        if (item[method]?.responses['503'] !== undefined && path.startsWith('/v1/')) await client.call(url, { method, path })
    }
  }
  {
    const failing = () => [{ name: 'log', failure: 'it is full' }]
    await using ingress = await startIngress({ metricsKey: true, liveness: failing, readiness: failing, startup: failing })
    for (const path of ['/livez', '/readyz', '/startupz']) await client.call(ingress.url, { method: 'get', path })
    await client.call(ingress.url, { method: 'get', path: '/metrics', headers: { authorization: '' } })
    await client.call(ingress.url, { method: 'get', path: '/metrics', headers: { authorization: `Bearer ${keyOf('publish')}` } })
  }
  expect(documented.filter((answer) => !client.seen.has(answer))).toEqual([])
})
