import { BridgeError, type FieldError } from '../errors.ts'
import { describeMistake } from './json-mistake.ts'

/** The deepest nesting of objects and arrays that is taken in. */
const maxDepth = 64

// TypeScript has no types yet for "JSON.parse source text access", which V8 has had since Node 21.
const json = JSON as typeof JSON & {
  rawJSON(text: string): unknown
  isRawJSON(value: unknown): boolean
  parse(text: string, reviver: (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown): unknown
}

/** Whether a parsed value is a number whose digits a JavaScript number cannot hold. */
export const isRawNumber = (value: unknown): boolean => json.isRawJSON(value)

/** So many digits in a row can be more than a JavaScript number holds. */
const longRun = 16

/** Only texts with an exponent, or with a run of digits that long, can hold a number that does not survive; the slow parse is for them alone. */
function maybeLossy(text: string): boolean {
  return /\d[eE][-+\d]/.test(text) || hasLongRun(text)
}

/** Every run that is long enough covers one of the places that are looked at. */
function hasLongRun(text: string): boolean {
  for (let place = longRun - 1; place < text.length; place += longRun) {
    if (!isDigit(text, place)) continue
    let first = place
    while (isDigit(text, first - 1)) first--
    let last = place
    while (isDigit(text, last + 1)) last++
    if (last - first + 1 >= longRun) return true
  }
  return false
}

function isDigit(text: string, place: number): boolean {
  const code = text.charCodeAt(place)
  return code >= 0x30 && code <= 0x39
}

function keepDigits(this: unknown, _key: string, value: unknown, context: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context.source === undefined || String(value) === context.source) return value
  if (Number.isFinite(value) && !/\d{16}/.test(context.source.replace('.', ''))) return value
  return json.rawJSON(context.source)
}

/**
 * JSON from outside. Numbers that JavaScript would round keep their digits (see `isRawNumber`), so a Java long reaches the browser as it was sent.
 * @throws BridgeError invalid_json, which repeats nothing of the text
 */
export function parseJson(text: string): unknown {
  try {
    return maybeLossy(text) ? json.parse(text, keepDigits) : JSON.parse(text)
  } catch (cause) {
    // V8 quotes the text.
    throw new BridgeError('invalid_json', describeMistake(text, cause), { cause })
  }
}

/** Keys from the root to a value. */
export type Path = readonly (string | number)[]

/** A path as an RFC 6901 JSON pointer. */
export function toPointer(path: Path): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/**
 * The first thing in a value that would hurt whoever handles it next: nesting beyond `maxDepth`, or a key that changes a prototype when a browser merges
 * the data into an object of its own.
 */
export function findHarm(root: unknown, at: Path): FieldError | undefined {
  return mayHarm(root, 1) ? locateHarm(root, at) : undefined
}

/** The look that is taken at every event: makes nothing, and goes no deeper than it has to. */
function mayHarm(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (depth > maxDepth) return true
  if (Array.isArray(value)) return value.some((item) => mayHarm(item, depth + 1))
  return Object.keys(value).some((key) => {
    const item: unknown = Reflect.get(value, key)
    return isPrototypeKey(key, item) || mayHarm(item, depth + 1)
  })
}

/** Where it is. Walks without recursion: the look-out for hostile nesting must not fall to it. */
function locateHarm(root: unknown, at: Path): FieldError | undefined {
  const open: { readonly value: object; readonly path: Path; readonly depth: number }[] = []
  if (typeof root === 'object' && root !== null) open.push({ value: root, path: at, depth: 1 })
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, path, depth } = next
    if (depth > maxDepth) return { pointer: toPointer(path), detail: `is nested deeper than ${maxDepth} levels` }
    if (isRawNumber(value)) continue
    for (const [key, item] of Array.isArray(value) ? value.entries() : Object.entries(value)) {
      if (typeof key === 'string' && isPrototypeKey(key, item))
        return { pointer: toPointer([...path, key]), detail: 'is a key that could change a prototype' }
      if (typeof item === 'object' && item !== null) open.push({ value: item, path: [...path, key], depth: depth + 1 })
    }
  }
  return undefined
}

function isPrototypeKey(key: string, item: unknown): boolean {
  return key === '__proto__' || (key === 'constructor' && typeof item === 'object' && item !== null && Object.hasOwn(item, 'prototype'))
}
