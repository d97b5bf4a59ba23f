import { randomUUID } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { parseJson } from '../core/json.ts'
import { BridgeError } from '../errors.ts'
import { type Command, misuse, parseCall, refuseUnknown, refuseWords } from './command.ts'

const texts = ['user', 'room', 'session', 'except-user', 'data', 'id', 'url', 'api-key']
const switches = ['all', 'volatile', 'dry-run']

/** How often an event is sent at most, and how long one answer may take. */
const attempts = 3
const timeoutMs = 10_000

export const publish: Command = {
  name: 'publish',
  summary: 'posts an event to a running bridge',
  help: `sidecast publish EVENT --user 42 --data '{"total":12}'

Posts an event to a running bridge and prints its answer: "matched" is the number of sessions that it was for.

  --user 42         for a user; may be repeated, like --room NAME and --session ID
  --all             for everybody; not beside the others
  --except-user 7   not for this user; may be repeated
  --data JSON       what the browsers get; - reads it from standard input
  --id ID           makes the publish repeatable: the same id is delivered once. One is made when none is given
  --volatile        only for who is connected now; not kept for those who come back
  --dry-run         stores nothing, says whom it would reach
  --url URL         the private listener; else SIDECAST_URL, else http://127.0.0.1:3001
  --api-key KEY     the key alone, without its name and scopes; else SIDECAST_API_KEY

When no answer comes it is sent again under the same id, which cannot deliver it twice.
Exit code: 0 accepted, 1 not accepted, 2 the call is wrong.`,
  async run({ args, env }) {
    const call = parseCall(args, { texts, switches })
    refuseUnknown(call, [...texts, ...switches])
    const [event, ...surplus] = call.words
    if (event === undefined) throw misuse("EVENT is missing: sidecast publish order.updated --user 42 --data '{}'")
    refuseWords(surplus)
    const to = {
      ...list('users', call.texts('user')),
      ...list('rooms', call.texts('room')),
      ...list('sessions', call.texts('session')),
      ...(call.isSet('all') ? { all: true } : {}),
    }
    if (Object.keys(to).length === 0) throw misuse('nobody is named: give --user, --room, --session or --all')
    if (call.isSet('all') && Object.keys(to).length > 1)
      throw misuse('--all is for everybody, so that --user, --room and --session say nothing beside it: leave out the one that is not meant')
    const except = list('users', call.texts('except-user'))
    const written = call.text('data')
    const data = written === undefined ? {} : { data: toData(written === '-' ? await text(process.stdin) : written) }
    const id = call.text('id') ?? randomUUID()
    const url = toUrl(call.text('url') ?? env.SIDECAST_URL ?? 'http://127.0.0.1:3001', call.isSet('dry-run'))
    const key = call.text('api-key') ?? env.SIDECAST_API_KEY ?? ''
    if (!/^[\x21-\x7e]+$/.test(key))
      throw misuse('an API key is needed: --api-key or SIDECAST_API_KEY, one of the keys in SIDECAST_API_KEYS of the bridge')

    const body = JSON.stringify({
      event,
      ...data,
      to,
      ...(Object.keys(except).length === 0 ? {} : { except }),
      id,
      ...(call.isSet('volatile') ? { volatile: true } : {}),
    })
    const answer = await send(url, key, body, id)
    console.log(answer)
    return 0
  },
}

const list = (name: string, values: readonly string[]): Readonly<Record<string, readonly string[]>> => (values.length === 0 ? {} : { [name]: values })

function toData(json: string): unknown {
  try {
    // Keeps the digits of numbers that JavaScript would round.
    return parseJson(json)
  } catch (error) {
    throw error instanceof BridgeError ? misuse(`--data is not JSON (${error.message}); a text is '"text"', with both kinds of quotes`) : error
  }
}

function toUrl(base: string, dryRun: boolean): URL {
  const url = URL.canParse(base) ? new URL(base) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '' || url.hash !== '')
    throw misuse(`${JSON.stringify(base)} is not the address of a bridge: write http://host:port (--url or SIDECAST_URL)`)
  url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/events`
  if (dryRun) url.searchParams.set('dry_run', 'true')
  return url
}

/** The answer of the bridge, as JSON text. @throws BridgeError that says what to do */
async function send(url: URL, key: string, body: string, id: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const answer = await post(url, key, body)
    if (answer.kind === 'accepted') return answer.text
    if (answer.kind === 'refused') throw new BridgeError('unavailable', answer.reason)
    if (attempt === attempts)
      throw new BridgeError(
        'unavailable',
        `${answer.reason}, ${attempts} times; whether the event was stored is not known. Repeat it with --id ${id}: it cannot arrive twice`,
      )
    await setTimeout(answer.waitMs ?? attempt * 500)
  }
}

type Answer =
  | { readonly kind: 'accepted'; readonly text: string }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly reason: string; readonly waitMs?: number }

async function post(url: URL, key: string, body: string): Promise<Answer> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body,
      // A key is not carried to where somebody points.
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    return toAnswer(response.status, response.headers, await response.text(), url)
  } catch (error) {
    return toFailure(error, url)
  }
}

function toAnswer(status: number, headers: Headers, body: string, { origin }: URL): Answer {
  const refused = (reason: string): Answer => ({ kind: 'refused', reason })
  const problem = toProblem(body)
  if (problem === undefined)
    return refused(`what answers at ${origin} (status ${status}) is not a bridge's private listener: check --url, SIDECAST_URL`)
  if (status === 200 || status === 202) return { kind: 'accepted', text: body.trim() }
  const why = `${problem.detail ?? problem.title ?? 'no reason given'} (${problem.code ?? status})`
  switch (status) {
    case 401:
      return refused(`the bridge does not accept the API key: ${why}. Give a key of its SIDECAST_API_KEYS alone, without name and scopes`)
    case 403:
      return refused(`the API key may not publish: ${why}. Its entry in SIDECAST_API_KEYS needs the scope publish`)
    case 404:
      return refused(`there is no ingress at ${origin}: ${why}. The private listener is meant, not the one for browsers (--url, SIDECAST_URL)`)
    case 429:
    case 503: {
      const seconds = Number(headers.get('retry-after') ?? Number.NaN)
      return { kind: 'unknown', reason: `the bridge cannot take it now: ${why}`, ...(seconds >= 0 ? { waitMs: Math.min(seconds, 5) * 1000 } : {}) }
    }
    default:
      // Where there are pointers, the detail only repeats them in one line.
      return refused(
        problem.errors.length === 0
          ? `the bridge refuses the event: ${why}`
          : [
              `the bridge refuses the event (${problem.code ?? status}):`,
              ...problem.errors.map(({ pointer, detail }) => `  ${pointer || '/'} ${detail}`),
            ].join('\n'),
      )
  }
}

interface Problem {
  readonly title?: string
  readonly detail?: string
  readonly code?: string
  readonly errors: readonly { readonly pointer: string; readonly detail: string }[]
}

/** What an answer holds of RFC 9457; undefined when it is not even a JSON object. */
function toProblem(json: string): Problem | undefined {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  return { ...value, errors: 'errors' in value && Array.isArray(value.errors) ? value.errors : [] }
}

function toFailure(error: unknown, { origin }: URL): Answer {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  switch (cause instanceof Error && 'code' in cause ? cause.code : undefined) {
    case 'ECONNREFUSED':
      return {
        kind: 'refused',
        reason: `nothing listens at ${origin}: is the bridge running (sidecast serve)? Its private listener is meant (--url, SIDECAST_URL)`,
      }
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return { kind: 'refused', reason: `the host of ${origin} cannot be found: check --url, SIDECAST_URL` }
    default:
      return { kind: 'unknown', reason: `no answer from ${origin} (${cause instanceof Error ? cause.message : String(cause)})` }
  }
}
