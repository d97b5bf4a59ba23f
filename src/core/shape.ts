import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import { BridgeError, type ErrorCode, type FieldError } from '../errors.ts'
import { isRawNumber, toPointer } from './json.ts'
import { tooLarge } from './name.ts'

/** So many items of a list are told one by one when they are wrong. */
const maxItems = 1000

/** A check of anything from outside against a schema of an OpenAPI 3.1 document; what passes has that shape. `invalid` makes the error. */
export function createShapeCheck<Shape>(openapi: object, schema: string, invalid: (errors: readonly FieldError[]) => BridgeError) {
  const compile = (allErrors: boolean) => {
    const ajv = new Ajv2020({ allErrors, strict: false, verbose: true })
    ajv.addSchema(openapi, 'openapi')
    return ajv.compile<Shape>({ $ref: `openapi#/components/schemas/${schema}` })
  }
  const validate = compile(false)
  const explain = compile(true)
  return (value: unknown): Shape => {
    if (validate(value)) return value
    const judge = isModest(value, 3) ? explain : validate
    judge(value)
    throw invalid(toFieldErrors(judge.errors ?? []))
  }
}

/** Whether all that is wrong can be told: a body that is wrong in a million places would take seconds, so it gets to know the first. */
function isModest(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null || levels === 0) return true
  const items = Object.values(value)
  return items.length <= maxItems && items.every((item) => isModest(item, levels - 1))
}

/** A hostile body can be wrong in a hundred thousand places; nobody reads so many. */
const maxErrors = 20

export function invalidBody(code: ErrorCode, whole: string, errors: readonly FieldError[]): BridgeError {
  const first = errors.slice(0, maxErrors)
  return new BridgeError(code, first.map(({ pointer, detail }) => `${pointer || whole} ${detail}`).join('; '), { errors: first })
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
  number: 'a number',
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
    default: {
      if ((keyword === 'minimum' || keyword === 'maximum') && [parentSchema?.type].flat().includes('integer')) return { pointer, detail: tooLarge }
      // openapi.yaml has the words beside the rule.
      const words: unknown = parentSchema?.['x-message']
      return { pointer, detail: typeof words === 'string' ? words : (message ?? 'is not valid') }
    }
  }
}
