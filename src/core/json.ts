import { BridgeError, type FieldError } from '../errors.ts'

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

// Only texts with a run of digits this long, or with an exponent, can hold a number that does not survive; the slow parse is for them alone.
const maybeLossy = /\d{16}|\d[eE]/

function keepDigits(this: unknown, _key: string, value: unknown, context: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context.source === undefined || String(value) === context.source) return value
  if (Number.isFinite(value) && !/\d{16}/.test(context.source.replace('.', ''))) return value
  return json.rawJSON(context.source)
}

/**
 * JSON from outside. Numbers that JavaScript would round keep their digits (see `isRawNumber`), so a Java long reaches the browser as it was sent.
 * @throws BridgeError invalid_json
 */
export function parseJson(text: string): unknown {
  try {
    return maybeLossy.test(text) ? json.parse(text, keepDigits) : JSON.parse(text)
  } catch (cause) {
    throw new BridgeError('invalid_json', cause instanceof Error ? cause.message : undefined, { cause })
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
 * the data into an object of its own. Walks without recursion: the look-out for hostile nesting must not fall to it.
 */
export function findHarm(root: unknown, at: Path): FieldError | undefined {
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
