import { readFileSync } from 'node:fs'
import { parseDocument } from 'yaml'

/** What a file holds, or why that cannot be said, in words that follow its name. */
export type Text = { readonly readable: true; readonly content: string } | { readonly readable: false; readonly reason: string }

export function readText(path: string): Text {
  try {
    return { readable: true, content: new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path)) }
  } catch (error) {
    return { readable: false, reason: reasonOf(error) }
  }
}

function reasonOf(error: unknown): string {
  switch (error instanceof Error && 'code' in error ? error.code : undefined) {
    case 'ENOENT':
      return 'does not exist'
    case 'EACCES':
      return 'may not be read by this user'
    case 'EISDIR':
      return 'is a folder'
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'is not UTF-8 text'
    default:
      return `cannot be read (${error instanceof Error ? error.message : String(error)})`
  }
}

/** One value of a file and the keys that lead to it. `value`: for a list of maps the entries of each; undefined where something else stands. */
export interface YamlEntry {
  readonly keys: readonly string[]
  readonly value: string | readonly string[] | readonly YamlMap[] | undefined
}

interface YamlMap {
  readonly entries: readonly YamlEntry[]
}

export type Yaml = { readonly readable: true; readonly entries: readonly YamlEntry[] } | { readonly readable: false; readonly reason: string }

const unusable = (reason: string): Yaml => ({ readable: false, reason })

export function readYaml(path: string): Yaml {
  const text = readText(path)
  if (!text.readable) return text
  // The failsafe schema leaves every scalar the text that it is: a secret of digits keeps its leading zeros.
  const document = parseDocument(text.content, { schema: 'failsafe' })
  const [error] = [...document.errors, ...document.warnings]
  if (error !== undefined) {
    // Without the excerpt that the library appends: it may hold a secret.
    const [what = ''] = error.message.split(/: ["']| at line /)
    const hint = /\balias\b/i.test(what) ? '. Text that begins with * needs quotes; origins are named one by one, * is not possible' : ''
    return unusable(`is not usable YAML at line ${error.linePos?.[0].line ?? 1}: ${what}${hint}`)
  }
  try {
    const root: unknown = document.toJS() ?? {}
    if (typeof root === 'object' && !Array.isArray(root)) return { readable: true, entries: [...flatten(root, [])] }
  } catch {
    return unusable(
      'is not usable YAML: an alias (*name) stands for nothing, or there are too many of them. Text that begins with * needs quotes; origins are named one by one, * is not possible',
    )
  }
  return unusable('must hold keys and values, such as "jwt: { user_claim: sub }"')
}

const isText = (value: unknown): value is string => typeof value === 'string'

function* flatten(node: unknown, keys: readonly string[]): Iterable<YamlEntry> {
  // What YAML writes for "nothing" counts as empty.
  if (isText(node)) yield { keys, value: node === '~' || node === 'null' ? '' : node }
  else if (Array.isArray(node)) yield { keys, value: listOf(node) }
  else if (typeof node === 'object' && node !== null) for (const [key, value] of Object.entries(node)) yield* flatten(value, [...keys, key])
}

function listOf(items: readonly unknown[]): YamlEntry['value'] {
  if (items.every(isText)) return items
  const isMaps = items.every((item) => typeof item === 'object' && item !== null && !Array.isArray(item))
  return isMaps ? items.map((item) => ({ entries: [...flatten(item, [])] })) : undefined
}
