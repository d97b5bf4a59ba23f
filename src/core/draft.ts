import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import { BridgeError, type FieldError } from '../errors.ts'
import { findHarm, isRawNumber, toPointer } from './json.ts'
import { isName, maxNameLength, toName } from './name.ts'
import type { Except, Target } from './target.ts'

/** An event before it has an offset. Made only here, so whoever holds one need not check it again. */
export interface Draft {
  readonly event: string
  /** JSON text. */
  readonly data: string
  readonly to: Target
  readonly except: Except
  readonly id?: string
  readonly volatile: boolean
}

/** The most users, rooms and sessions that one event may name together. */
const maxTargets = 1000

/** The shape that the schema `EventDraft` of openapi.yaml has made sure of. */
interface DraftBody {
  readonly event: string
  readonly data?: unknown
  readonly to: {
    readonly users?: readonly unknown[]
    readonly rooms?: readonly unknown[]
    readonly sessions?: readonly string[]
    readonly all?: boolean
  }
  readonly except?: { readonly users?: readonly unknown[]; readonly sessions?: readonly string[] }
  readonly id?: string
  readonly volatile?: boolean
}

/** From anything that an ingress took in to a draft. @throws BridgeError invalid_event, event_too_large */
export type DraftParser = (value: unknown) => Draft

/** The parser for the schema `EventDraft` of an OpenAPI 3.1 document; the one gate for events of every ingress. */
export function createDraftParser(openapi: object, limits: { readonly maxEventBytes: number }): DraftParser {
  const compile = (allErrors: boolean) => {
    const ajv = new Ajv2020({ allErrors, strict: false, verbose: true })
    ajv.addSchema(openapi, 'openapi')
    return ajv.compile<DraftBody>({ $ref: 'openapi#/components/schemas/EventDraft' })
  }
  const validate = compile(false)
  const explain = compile(true)
  return (value) => {
    if (validate(value)) return toDraft(value, limits)
    const judge = isModest(value, 3) ? explain : validate
    judge(value)
    throw invalid(toFieldErrors(judge.errors ?? []))
  }
}

/** Whether all that is wrong can be told: a body that is wrong in a million places would take seconds, so it gets to know the first. */
function isModest(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null || levels === 0) return true
  const items = Object.values(value)
  return items.length <= maxTargets && items.every((item) => isModest(item, levels - 1))
}

function toDraft(body: DraftBody, limits: { readonly maxEventBytes: number }): Draft {
  const errors: FieldError[] = []
  const names = (values: readonly unknown[] | undefined, pointer: string): readonly string[] => {
    const result = new Set<string>()
    for (const [index, value] of (values ?? []).entries()) {
      const name = toName(value)
      if (name === undefined) errors.push({ pointer: `${pointer}/${index}`, detail: nameProblem(value) })
      else result.add(name)
    }
    return [...result]
  }
  const to: Target = {
    users: names(body.to.users, '/to/users'),
    rooms: names(body.to.rooms, '/to/rooms'),
    sessions: [...new Set(body.to.sessions)],
    all: body.to.all ?? false,
  }
  const except: Except = { users: names(body.except?.users, '/except/users'), sessions: [...new Set(body.except?.sessions)] }

  const named = to.users.length + to.rooms.length + to.sessions.length
  if (named > maxTargets) errors.push({ pointer: '/to', detail: `names ${named} targets; an event may name ${maxTargets}` })
  if (named === 0 && !to.all && errors.length === 0)
    errors.push({ pointer: '/to', detail: 'names nobody: give users, rooms or sessions, or set all to true' })
  const harm = findHarm(body.data, ['data'])
  if (harm !== undefined) errors.push(harm)
  if (errors.length > 0) throw invalid(errors)

  const data = JSON.stringify(body.data ?? null)
  const bytes = Buffer.byteLength(data)
  if (bytes > limits.maxEventBytes) {
    throw new BridgeError('event_too_large', `data is ${bytes} bytes of JSON; the limit is ${limits.maxEventBytes}`)
  }
  return { event: body.event, data, to, except, volatile: body.volatile ?? false, ...(body.id === undefined ? {} : { id: body.id }) }
}

const tooLarge = 'is a number beyond 2^53: send it as a string, or digits are lost'

function nameProblem(value: unknown): string {
  if (isRawNumber(value) || typeof value === 'number') return tooLarge
  return typeof value === 'string' && !isName(value)
    ? `must be 1 to ${maxNameLength} characters, none of them a control or invisible formatting character`
    : 'must be a string or an integer'
}

/** A hostile body can be wrong in a hundred thousand places; nobody reads so many. */
const maxErrors = 20

function invalid(errors: readonly FieldError[]): BridgeError {
  const first = errors.slice(0, maxErrors)
  return new BridgeError('invalid_event', first.map(({ pointer, detail }) => `${pointer || 'the event'} ${detail}`).join('; '), { errors: first })
}

/** What the schema found, in words about the field. */
function toFieldErrors(errors: readonly ErrorObject[]): readonly FieldError[] {
  const found = errors.map(toFieldError)
  // Several rules of one field share their words.
  return found.filter(
    ({ pointer, detail }, index) => !found.slice(0, Math.min(index, maxErrors)).some((e) => e.pointer === pointer && e.detail === detail),
  )
}

/** PHP makes an object of a list with gaps (`array_filter`, `array_unique`), and a list of an empty array. */
function toCure(pointer: string, types: readonly unknown[], data: unknown): string {
  if (pointer === '/to' && Array.isArray(data)) return ': name users, rooms or sessions, or set all to true'
  const isObject = typeof data === 'object' && data !== null && !Array.isArray(data) && !isRawNumber(data)
  return types.includes('array') && isObject ? ' (in PHP: array_values())' : ''
}

const typeWords: Readonly<Record<string, string>> = {
  string: 'a string',
  integer: 'an integer',
  boolean: 'true or false',
  object: 'an object',
  array: 'an array',
}

function toFieldError({ keyword, instancePath, params, data, message, parentSchema }: ErrorObject): FieldError {
  const pointer = instancePath
  switch (keyword) {
    case 'additionalProperties':
      return { pointer: `${pointer}${toPointer([String(params.additionalProperty)])}`, detail: 'is not a known field' }
    case 'required':
      return { pointer: `${pointer}${toPointer([String(params.missingProperty)])}`, detail: 'is required' }
    case 'maxItems':
      return { pointer, detail: `has more than ${String(params.limit)} items` }
    case 'type': {
      const types: readonly unknown[] = [params.type].flat()
      if (isRawNumber(data) && types.includes('integer')) return { pointer, detail: tooLarge }
      return {
        pointer,
        detail: `must be ${types.map((type) => typeWords[String(type)] ?? String(type)).join(' or ')}${toCure(pointer, types, data)}`,
      }
    }
    case 'minimum':
    case 'maximum':
      return { pointer, detail: tooLarge }
    default: {
      // openapi.yaml has the words beside the rule.
      const words: unknown = parentSchema?.['x-message']
      return { pointer, detail: typeof words === 'string' ? words : (message ?? 'is not valid') }
    }
  }
}
